//! Fixtures, launchers of real services and fault injection; for tests only
