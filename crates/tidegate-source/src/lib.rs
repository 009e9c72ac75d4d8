//! Positions, fetch and lag over JetStream
