//! Stream time: the running maximum of the broker's times (D4).

use tidegate_types::{Span, StreamTime};

/// Stream time went forward by more than the window at once. Every id that was remembered is
/// forgotten by it, which is right after a long silence and wrong when a broker's clock was set ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockJump {
    /// Stream time before.
    pub from: StreamTime,
    /// Stream time after.
    pub to: StreamTime,
}

impl ClockJump {
    fn length(self) -> i64 {
        self.to.0.saturating_sub(self.from.0)
    }
}

/// The clock of one partition. It starts at zero, which stands for "no message yet".
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamClock {
    time: StreamTime,
    window_micros: i64,
    jump: Option<ClockJump>,
}

impl StreamClock {
    pub(crate) fn new(window: Span) -> Self {
        Self { time: StreamTime(0), window_micros: window.as_micros(), jump: None }
    }

    pub(crate) fn time(&self) -> StreamTime {
        self.time
    }

    /// Ids of rows at or before this time are forgotten: T − W.
    pub(crate) fn horizon(&self) -> StreamTime {
        StreamTime(self.time.0.saturating_sub(self.window_micros))
    }

    /// A message of the stream was published at `time`. The longest jump since the last report is
    /// kept.
    pub(crate) fn observe(&mut self, time: StreamTime) {
        let jump = ClockJump { from: self.time, to: time };
        let first = self.time.0 == 0;
        if !first && jump.length() > self.window_micros {
            let longest = self.jump.is_none_or(|known| known.length() < jump.length());
            self.jump = if longest { Some(jump) } else { self.jump };
        }
        self.catch_up(time);
    }

    /// The stream is known to have reached `time`; not a jump, since nobody saw the way there.
    pub(crate) fn catch_up(&mut self, time: StreamTime) {
        self.time = self.time.max(time);
    }

    pub(crate) fn take_jump(&mut self) -> Option<ClockJump> {
        self.jump.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_after(times: &[i64]) -> StreamClock {
        let mut clock = StreamClock::new(Span::millis(1));
        times.iter().for_each(|&time| clock.observe(StreamTime(time)));
        clock
    }

    #[test]
    fn d4_stream_time_never_goes_back() {
        let clock = clock_after(&[5_000, 3_000, 4_000]);
        assert_eq!(clock.time(), StreamTime(5_000));
        assert_eq!(clock.horizon(), StreamTime(4_000));
    }

    #[test]
    fn d4_a_forward_jump_longer_than_the_window_is_reported_once() {
        let jump = |from, to| Some(ClockJump { from: StreamTime(from), to: StreamTime(to) });
        for (times, reported) in [
            (&[9_000_000][..], None),
            (&[1_000, 2_000], None),
            (&[1_000, 2_001], jump(1_000, 2_001)),
            (&[1_000, 5_000, 20_000, 22_000], jump(5_000, 20_000)),
            (&[9_000, 1_000, 9_500], None),
        ] {
            let mut clock = clock_after(times);
            assert_eq!(clock.take_jump(), reported, "{times:?}");
            assert_eq!(clock.take_jump(), None);
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let clock = clock_after(&[1, i64::MAX, i64::MIN]);
        assert_eq!(clock.time(), StreamTime(i64::MAX));
        let mut endless = StreamClock::new(Span::millis(u64::MAX));
        endless.observe(StreamTime(-5));
        assert_eq!(endless.horizon(), StreamTime(-i64::MAX));
    }
}
