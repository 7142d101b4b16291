//! Numbers as people read them; JSON has the raw ones.

/// Bytes in binary units.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut whole, mut tenths, mut unit) = scaled(u128::from(bytes), 1024);
    // 1023.96 KiB is shown as 1.0 MiB.
    if whole >= 1024 {
        (whole, tenths, unit) = (1, 0, unit + 1);
    }
    let name = UNITS[unit.min(UNITS.len() - 1)];
    match whole {
        0..100 => format!("{whole}.{tenths} {name}"),
        _ => format!("{whole} {name}"),
    }
}

/// How far to scale down so that less than `base` is left: whole, tenths (rounded), steps - 1.
fn scaled(value: u128, base: u128) -> (u128, u128, usize) {
    let mut divisor = base;
    let mut steps = 0;
    while value / divisor >= base {
        divisor *= base;
        steps += 1;
    }
    let tenths = (value * 10 + divisor / 2) / divisor;
    (tenths / 10, tenths % 10, steps)
}

/// How many of what.
pub(crate) fn count(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// A span of time that work took, from its nanoseconds.
pub(crate) fn span_ns(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{}.{} us", ns / 1_000, ns / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        1_000_000_000..60_000_000_000 => {
            format!("{}.{:02} s", ns / 1_000_000_000, ns / 10_000_000 % 100)
        }
        _ => age_us(ns / 1_000),
    }
}

/// How long ago something was, from its microseconds.
pub(crate) fn age_us(us: u64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A point in time in UTC, from microseconds of CLOCK_REALTIME.
pub(crate) fn utc(us: u64) -> String {
    let seconds = us / 1_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day since 1970-01-01, Gregorian, by 400-year eras that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + shifted / 146_097 * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_decimal_below_a_hundred() {
        let shown = [0, 1023, 1024, 1536, 1_048_525, 104_857_600, 150_323_855_360].map(bytes);
        assert_eq!(
            shown,
            [
                "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "100 MiB", "140 GiB"
            ]
        );
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn times_choose_their_unit() {
        let shown = [7, 350_900, 12_345_678, 1_234_567_890, 3_725_000_000_000].map(span_ns);
        assert_eq!(
            shown,
            ["7 ns", "350.9 us", "12.3 ms", "1.23 s", "1 h 02 min"]
        );
        let shown = [59_999_999, 200_000_000, 12_000_000_000, 266_400_000_000].map(age_us);
        assert_eq!(shown, ["59 s", "3 min 20 s", "3 h 20 min", "3 d 02 h"]);
    }

    #[test]
    fn one_is_no_plural() {
        let shown = [0, 1, 2].map(|clients| count(clients, "client"));
        assert_eq!(shown, ["0 clients", "1 client", "2 clients"]);
    }

    #[test]
    fn days_are_found_across_leap_years() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399_000_000), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400_000_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_192_201_999_999), "2026-11-20 16:30:01 UTC");
        assert_eq!(utc(4_107_542_400_000_000), "2100-03-01 00:00:00 UTC");
    }
}
