//! Ground for the tests: real services on free ports, real processes that can be killed, and proxies
//! that lie in between. A dev-dependency only; nothing here is compiled into the shipped binary.
//!
//! * [`NatsServer`], [`S3Server`]: launchers. They can be killed (SIGKILL), frozen (SIGSTOP) and started
//!   again on the same port with the same data, as every server here: [`ServerProcess`].
//! * [`AzureServer`], [`GoogleServer`]: stand-ins for the object stores of clouds.
//! * [`PostgresServer`]: a database with replicas and sessions that hold transactions open.
//! * [`MariaDbServer`]: another one; it too has sessions.
//! * [`TidegateProcess`]: the real binary as a process, with its logs.
//! * [`Document`]: a pipeline as its resource.
//! * [`FaultProxy`]: HTTP/1.1 in front of an object store; stores and then lies, delays, refuses.
//! * [`HookedStore`]: an object store of this process that fails as a test says.
//! * [`WireProxy`]: TCP in front of a broker; swallows, stalls, cuts.
//! * [`readers`]: engines that we did not write, asked what a table holds.
//! * [`cluster`]: a real Kubernetes control plane, a [`Namespace`] per test; [`node`]: pods as processes.
//! * [`SmallDisk`]: a file system that can be filled.
//! * [`Random`], [`parameter`]: chance that can be repeated, and what a recipe passes to a test.
//! * [`Scratch`]: folders under `target/tmp` that stay when a test fails.
//!
//! Launchers look for their programs in `TIDEGATE_SERVICES`, in `target/venv/bin` and on `PATH`; the
//! make recipes set them up. Ports are taken below the ephemeral range so that outgoing connections of a
//! neighbour never hold them.

pub mod cluster;
pub mod fault;
pub mod node;
pub mod readers;

mod child;
mod cloud;
mod document;
mod fault_proxy;
mod guard;
mod hooked_store;
mod http;
mod mariadb;
mod nats;
mod parameter;
mod paths;
mod ports;
mod postgres;
mod random;
mod s3;
mod scratch;
mod secret;
mod server;
mod small_disk;
mod sql_client;
mod tidegate;
mod wait;
mod wire_proxy;

pub use child::ManagedChild;
pub use cloud::{AzureServer, GoogleServer};
pub use cluster::{ControlPlane, Namespace, Tap};
pub use document::Document;
pub use fault::{Fault, Late, Matcher, Rule};
pub use fault_proxy::{Answered, Event, FaultProxy, RuleId};
pub use hooked_store::{HookedStore, Inner, StoreHooks};
pub use http::ask_http;
pub use mariadb::{
    MARIADB_DATABASE, MARIADB_PASSWORD, MARIADB_USER, MariaDbOptions, MariaDbServer,
};
pub use nats::{NatsOptions, NatsServer};
pub use node::ProcessNode;
pub use parameter::parameter;
pub use paths::{service, workspace};
pub use ports::free_port;
pub use postgres::{
    POSTGRES_DATABASE, POSTGRES_PASSWORD, POSTGRES_USER, PostgresOptions, PostgresServer,
};
pub use random::Random;
pub use s3::{ACCESS_KEY, S3Server, SECRET_KEY};
pub use scratch::{Scratch, copy_folder};
pub use secret::write_secret;
pub use server::ServerProcess;
pub use small_disk::SmallDisk;
pub use sql_client::SqlSession;
pub use tidegate::{TidegateCommand, TidegateProcess};
pub use wait::eventually;
pub use wire_proxy::{Traffic, WireProxy};
