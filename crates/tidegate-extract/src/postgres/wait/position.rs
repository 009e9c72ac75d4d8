//! Positions in a server's log.

/// Before the first record of a page.
const PAGE_HEADER: u64 = 24;
/// The same of a segment's first page.
const SEGMENT_HEADER: u64 = 40;

/// Where the last record ends, from where the next one will begin and the sizes of pages and segments in bytes.
/// At the beginning of a page its header lies between, of which a replica that has replayed all knows nothing
/// until something is written behind it.
pub(super) fn end_of_records(next: u64, (page, segment): (i64, i64)) -> u64 {
    let into = |size: i64| u64::try_from(size).ok().and_then(|size| next.checked_rem(size));
    match (into(page), into(segment)) {
        (_, Some(SEGMENT_HEADER)) => next - SEGMENT_HEADER,
        (Some(PAGE_HEADER), _) => next - PAGE_HEADER,
        _ => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_nothing_behind_it_is_no_record() {
        for (next, end) in [
            (0x0500_0028, 0x0500_0000),
            (0x0500_2018, 0x0500_2000),
            // The first page of a segment has the longer header, and records are of eight bytes at least.
            (0x0500_2020, 0x0500_2020),
            (0x0500_2028, 0x0500_2028),
            (0x0500_0030, 0x0500_0030),
            (0x0500_2000, 0x0500_2000),
        ] {
            assert_eq!(end_of_records(next, (8_192, 16 << 20)), end, "{next:x}");
        }
        assert_eq!(end_of_records(0x0500_0028, (0, 0)), 0x0500_0028, "sizes that are none");
    }
}
