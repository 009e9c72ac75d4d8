//! The custom resources, their CEL rules and their validation
