//! Servers that stand in for the object stores of clouds: [`AzureServer`], [`GoogleServer`].

mod azure;
mod google;

pub use azure::AzureServer;
pub use google::GoogleServer;
