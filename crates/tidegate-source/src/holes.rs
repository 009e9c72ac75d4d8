//! Messages deleted from the middle of the stream before they were read (S1).
//!
//! Consumer sequences stay dense over deleted messages, so only the stream's own state shows them.

/// The first run of holes beyond `cursor` that was not read: `deleted` is ascending, `read` are the
/// sequences of the batch at hand, ascending. Both ends inclusive.
pub(crate) fn first_loss(deleted: &[u64], cursor: u64, read: &[u64]) -> Option<(u64, u64)> {
    let mut lost = deleted
        .iter()
        .copied()
        .filter(|sequence| *sequence > cursor && read.binary_search(sequence).is_err());
    let from = lost.next()?;
    let to = lost.zip(from + 1..).take_while(|(found, next)| found == next).last();
    Some((from, to.map_or(from, |(found, _)| found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_holes_beyond_the_cursor_are_lost_messages() {
        type Case = (&'static [u64], u64, &'static [u64], Option<(u64, u64)>);
        let cases: [Case; 6] = [
            (&[], 5, &[], None),
            (&[3, 4], 5, &[], None),
            (&[3, 7, 8, 9, 12], 5, &[], Some((7, 9))),
            (&[7, 8], 5, &[6, 7, 8], None),
            (&[7, 8, 9], 5, &[6, 7], Some((8, 9))),
            (&[6], 5, &[], Some((6, 6))),
        ];
        for (deleted, cursor, read, loss) in cases {
            assert_eq!(first_loss(deleted, cursor, read), loss, "{deleted:?} {cursor} {read:?}");
        }
    }
}
