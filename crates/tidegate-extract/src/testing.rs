//! What tests of several sources begin with.

use tidegate_config::{Incremental, NullCursorPolicy};
use tidegate_types::Span;

/// By the column `made`, without any waiting.
pub(crate) fn incremental(zone: Option<&str>) -> Incremental {
    Incremental {
        cursor_field: "made".into(),
        time_zone: zone.map(str::to_owned),
        settle: Span::seconds(0),
        max_wait: Span::seconds(0),
        ignore_roles: Vec::new(),
        on_null_cursor: NullCursorPolicy::Fail,
        rerun_last: 0,
    }
}
