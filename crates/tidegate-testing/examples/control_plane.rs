//! A control plane to play with, and a namespace whose pods run as processes (or stand-ins).
//!
//! ```text
//! cargo build --release --workspace --example control_plane
//! target/*/release/examples/control_plane [--stand-in]
//! ```
//!
//! Prints what to export, and ends with everything in it when standard input ends or on Ctrl-C.
#![allow(clippy::print_stdout, reason = "this is what the program is for")]

use anyhow::Result;
use tidegate_testing::{Namespace, ProcessNode};

#[tokio::main]
async fn main() -> Result<()> {
    let namespace = Namespace::create("play").await?;
    let stands_in = std::env::args().any(|argument| argument == "--stand-in");
    let node = match stands_in {
        true => ProcessNode::stand_in(&namespace).await?,
        false => ProcessNode::start(&namespace).await?,
    };
    println!("export KUBECONFIG={}", namespace.plane().kubeconfig().display());
    println!("export NAMESPACE={}", namespace.name());
    println!("# logs of pods: {}", node.folder().display());
    let waits = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
    tokio::select! {
        _ = waits => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
