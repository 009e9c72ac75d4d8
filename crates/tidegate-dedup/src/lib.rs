//! Message keys, stream-time windows and their snapshots
