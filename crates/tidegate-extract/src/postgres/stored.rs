//! Whether a column is stored, so that it is the same for every chunk.

use tidegate_types::Reason;
use tokio_postgres::Client;

use super::failure::failed;
use super::relation::Origin;
use super::types::Described;
use crate::ExtractError;

/// Views stand on views, but hardly deeper than this.
const DEEPEST: usize = 32;

/// Refuses to divide by a column that a query or a view computes. Every chunk computes it anew, and where
/// the order of rows is left to the server (`row_number()`) a row may get another value each time, and so
/// lie in two chunks or in none, though the counts agree.
pub(super) async fn require_stored(
    client: &Client,
    described: &[Described],
    field: &str,
    label: &str,
) -> Result<(), ExtractError> {
    let mut column = described.iter().find(|column| column.name == field).cloned();
    for _ in 0..DEEPEST {
        let Some((relation, number)) = column.and_then(|column| column.stands_for) else { break };
        let Some(definition) = view(client, relation).await? else { return Ok(()) };
        let mut behind = match Origin::of_query(&definition).describe(client).await {
            Ok(behind) => behind,
            // Another one's schema may be closed to us.
            Err(ExtractError::Permanent { .. }) => break,
            Err(error) => return Err(error),
        };
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        column = place.filter(|place| *place < behind.len()).map(|place| behind.swap_remove(place));
    }
    let what = format!(
        "bulk.chunking.field {field:?} of {label} is computed, or behind a view that this role may not look into, and each chunk would compute it anew: name a column of a table, or none, so that one chunk reads everything"
    );
    Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
}

/// The query of a view; none of what is no view.
async fn view(client: &Client, relation: u32) -> Result<Option<String>, ExtractError> {
    let definition = "SELECT pg_catalog.pg_get_viewdef(oid) FROM pg_catalog.pg_class \
                      WHERE oid = $1 AND relkind = 'v'";
    let row = client.query_opt(definition, &[&relation]).await;
    row.and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .map_err(|error| failed("looking into a view", error))
}
