//! Flush policy, partition routing, size estimates and the memory budget
