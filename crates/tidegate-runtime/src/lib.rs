//! What every process of the data plane has, whatever it moves: failures with reasons, mounted secrets,
//! private authorities, randomness, failpoints, and how stores are opened.

mod error;
pub mod failpoint;
pub mod private_ca;
mod random;
pub mod secrets;
mod store;
pub mod table;

pub use error::{RunError, causes, in_words};
pub use random::Random;
pub use store::{open_source_store, open_store};
