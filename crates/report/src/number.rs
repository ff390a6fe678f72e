//! Numbers as people write them.

/// `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut s = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            s.push(',');
        }
        s.push(d);
    }
    s
}

/// `4.2 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// `9876`, `12 k`, `3.4 M`, `1.2 G`.
pub fn short(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        1_000_000..10_000_000_000 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.1} G", n as f64 / 1e9),
    }
}

/// Seconds as `1:05` or `2:03:04`.
pub fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

/// How long ago something was: `12 s`, `5 min`, `3 h`, `9 days`.
pub fn age(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86400.0),
    }
}

/// A number with about four digits that count: `0.0021`, `3.142`, `1,234`.
pub fn digits(v: f64) -> String {
    match v.abs() {
        _ if !v.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        a if !(1e-4..1e15).contains(&a) => format!("{v:.2e}"),
        a if a >= 1000.0 => (if v < 0.0 { "-" } else { "" }).to_owned() + &number(a.round() as u64),
        a => format!("{v:.*}", (3 - a.log10().floor() as i32).clamp(0, 7) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([number(0), number(999), number(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([size(12), size(4_200_000)], ["12 B", "4.2 MB"]);
        assert_eq!([short(9_999), short(12_000), short(3_400_000)], ["9999", "12 k", "3.4 M"]);
        assert_eq!([clock(65.0), clock(7384.2), clock(-1.0)], ["1:05", "2:03:04", "0:00"]);
        assert_eq!([age(12.0), age(300.0), age(10_800.0), age(8e5)], ["12 s", "5 min", "3 h", "9 days"]);
        let all = [0.00213, 3.16227, -1234.4, f64::NAN, 4e-9].map(digits);
        assert_eq!(all, ["0.002130", "3.162", "-1,234", "–", "4.00e-9"]);
    }
}
