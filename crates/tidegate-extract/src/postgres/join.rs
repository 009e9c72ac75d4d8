//! Joining a snapshot that another process exported.

use serde::{Deserialize, Serialize};
use tidegate_config::DatabaseSource;
use tidegate_types::Reason;
use tokio_postgres::Client;

use super::connect::Server;
use super::failure::failed;
use super::held::Held;
use super::read::join_snapshot;
use super::relation::Origin;
use super::{Opened, resolve};
use crate::{ExtractError, ReadRequest};

/// What tells one server from all others, its followers too, which have their own names for snapshots, and
/// the same ones.
const SERVER: &str = "SELECT pg_catalog.to_char(pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC', \
     'YYYY-MM-DD HH24:MI:SS.US')";

/// What names a snapshot for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// As `pg_export_snapshot` names it.
    pub(super) snapshot: String,
    /// When the server that has it was started, to the microsecond.
    server: String,
    /// What its holder has locked.
    pub(super) held: Held,
}

impl Ticket {
    /// Names the snapshot of this server.
    pub(super) async fn new(
        client: &Client,
        snapshot: String,
        held: Held,
    ) -> Result<Self, ExtractError> {
        Ok(Self { snapshot, server: server(client).await?, held })
    }

    /// Refuses a connection to another server than the snapshot's.
    pub(super) async fn require_same_server(&self, client: &Client) -> Result<(), ExtractError> {
        let found = server(client).await?;
        if found == self.server {
            return Ok(());
        }
        let what = format!(
            "the connection leads to a server that was started at {found}, and the snapshot is of one \
             that was started at {}: let the secret name one server",
            self.server
        );
        Err(ExtractError::transient(Reason::SourceUnreachable, what))
    }
}

/// Joins the snapshot; the process that exported it holds it open.
pub(crate) async fn join(
    source: DatabaseSource,
    request: ReadRequest,
    ticket: Ticket,
) -> Result<Opened, ExtractError> {
    let (reached, session) =
        Server::connect(&source, &request.secrets, &request.application).await?;
    let client = &session.client;
    ticket.require_same_server(client).await?;
    // Before it joins: by the snapshot nothing is there that took a name since.
    let origin = Origin::find(client, &source.relation).await?;
    join_snapshot(client, &ticket).await?;
    let resolved = resolve(client, &origin, &request).await?;
    ticket.held.require_same(client, &reached, &origin).await?;
    Ok(Opened::new(reached, session, origin, request, ticket, resolved))
}

async fn server(client: &Client) -> Result<String, ExtractError> {
    let row = client.query_one(SERVER, &[]).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| failed("asking which server it is", error))
}
