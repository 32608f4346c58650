//! Times as the emulated services write them.

use crate::base::clock::Timestamp;

/// IMF-fixdate (RFC 9110 §5.6.7), for the `Date` header.
pub(crate) fn http_date(at: Timestamp) -> String {
    let timestamp = jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default();
    timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// ISO 8601 with milliseconds, as JavaScript prints it: Cal.com.
pub(crate) fn millis(at: Timestamp) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// ISO 8601 with microseconds: Calendly.
pub(crate) fn micros(at: Timestamp) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    timestamp.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_the_services_write_them() {
        let at = Timestamp::from_millis(1_700_000_000_250);
        assert_eq!(http_date(at), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(millis(at), "2023-11-14T22:13:20.250Z");
        assert_eq!(micros(at), "2023-11-14T22:13:20.250000Z");
    }
}
