//! When a certificate ends: the one thing of it that an operator must be told in time. Reads as far into X.509 (RFC 5280 §4.1)
//! as it takes to come there, and no further; whether the certificate is any good is for rustls and for clients to say.

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version, which may be left out.
const VERSION: u8 = 0xa0;

/// Seconds since 1970 at which a certificate in DER ends; `None` when it cannot be read.
pub(super) fn ends_s(der: &[u8]) -> Option<u64> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, behind)) = element(rest, VERSION) {
        rest = behind;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let begins = element(validity, UTC_TIME).or_else(|| element(validity, GENERALIZED_TIME));
    let (_, ends) = begins?;
    match element(ends, UTC_TIME) {
        Some((time, _)) => {
            let (year, rest) = number(time, 2)?;
            seconds(if year < 50 { 2_000 + year } else { 1_900 + year }, rest)
        }
        None => {
            let (year, rest) = number(element(ends, GENERALIZED_TIME)?.0, 4)?;
            seconds(year, rest)
        }
    }
}

/// What is in the element at the beginning of `der`, and what is behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let mut length = usize::from(length);
    if length >= 0x80 {
        let (bytes, behind) = rest.split_at_checked(length - 0x80).filter(|(bytes, _)| bytes.len() <= 4)?;
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(length)?;
    (first == tag).then_some((content, behind))
}

/// A number of so many digits, and what is behind it.
fn number(text: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (number, behind) = text.split_at_checked(digits).filter(|(n, _)| n.iter().all(u8::is_ascii_digit))?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, behind))
}

/// `MMDDHHMMSSZ` of a year, as certificates must have it, in seconds since 1970.
fn seconds(year: u64, mut text: &[u8]) -> Option<u64> {
    let mut parts = [0; 5];
    for part in &mut parts {
        (*part, text) = number(text, 2)?;
    }
    let [month, day, hour, minute, second] = parts;
    if text != b"Z" || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March end with the day that not all have.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    /// From the first of March of year 0 to 1970, counted in this way.
    const UNIX_EPOCH_DAYS: u64 = 719_469;
    Some(days.checked_sub(UNIX_EPOCH_DAYS)? * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn times_are_read_as_rfc_5280_writes_them() {
        assert_eq!(seconds(1970, b"0101000000Z"), Some(0));
        assert_eq!(seconds(2000, b"0229235959Z"), Some(951_868_799));
        assert_eq!(seconds(2038, b"0119031408Z"), Some(1 << 31));
        assert_eq!(seconds(2100, b"0301000000Z"), Some(4_107_542_400), "2100 is no leap year");
        for wrong in [&b"0101000000"[..], b"1301000000Z", b"0100000000Z", b"01010000Z", b"0101000000+0100", b""] {
            assert_eq!(seconds(2020, wrong), None);
        }
        assert_eq!(seconds(1969, b"1231235959Z"), None);
    }

    #[test]
    fn the_end_of_a_certificate_is_found_and_garbage_has_none() {
        let pem = include_bytes!("../../fixtures/tls/one.pem");
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        // What `openssl x509 -enddate` says of it.
        assert_eq!(ends_s(&der), Some(4_948_962_362));
        for end in 0..200 {
            assert_eq!(ends_s(&der[..end]), None);
        }
        for at in 0..der.len().min(300) {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.to_vec();
                changed[at] = byte;
                let _ = ends_s(&changed);
            }
        }
    }
}
