//! Who may sign an archive, and whether a signed file is theirs.
//!
//! The `pgp` crate checks a signature against one given key and nothing else.
//! What makes the key usable is checked here: the self-signature that gives its
//! expiry and purposes, the binding of a subkey in both directions, revocation,
//! and hash functions that still resist collisions.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};
use thiserror::Error;

use crate::sources::Source;
use crate::time::{UnixTime, format_time};

/// The keys that sign Debian 12 and 13, as `debian-archive-keyring` has them.
const DEBIAN_KEYS: [&[u8]; 6] = [
    include_bytes!("../keys/debian-archive-bookworm-automatic.gpg"),
    include_bytes!("../keys/debian-archive-bookworm-security-automatic.gpg"),
    include_bytes!("../keys/debian-archive-bookworm-stable.gpg"),
    include_bytes!("../keys/debian-archive-trixie-automatic.gpg"),
    include_bytes!("../keys/debian-archive-trixie-security-automatic.gpg"),
    include_bytes!("../keys/debian-archive-trixie-stable.gpg"),
];

/// The certificates of [`DEBIAN_KEYS`], read when a signature is first checked. That none of them is left out is
/// tested.
static DEBIAN: LazyLock<Vec<SignedPublicKey>> = LazyLock::new(|| {
    let read = DEBIAN_KEYS.into_iter().filter_map(|bytes| read_keys(bytes).ok());
    read.flatten().collect()
});

/// A signature may be this much younger than the clock says, for clocks that are slow.
const CLOCK_SLACK: UnixTime = 24 * 3_600;

/// A keyring or a signed file that is not accepted.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// A keyring that cannot be read.
    #[error("a keyring cannot be read: {reason}")]
    InvalidKeyring {
        /// What the parser says.
        reason: String,
    },
    /// Not one clear-signed text with nothing around it.
    #[error("it is not a clear-signed file: {reason}")]
    NotSigned {
        /// What is wrong with it.
        reason: String,
    },
    /// No signature counts.
    #[error("no signature is valid: {}", join(.rejected))]
    Untrusted {
        /// Every signature with the reason why it does not count.
        rejected: Vec<RejectedSignature>,
    },
}

fn join(rejected: &[RejectedSignature]) -> String {
    if rejected.is_empty() {
        return "it holds none".to_owned();
    }
    let shown: Vec<String> = rejected
        .iter()
        .map(|one| format!("key `{}` {}", one.key, one.reason))
        .collect();
    shown.join("; ")
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedSignature {
    /// Fingerprint or key id of the issuer, upper-case hex; `unknown` without one.
    pub key: String,
    /// Why, as it continues "key X ...".
    pub reason: String,
}

/// A text whose signature was checked.
#[derive(Debug, Clone)]
pub struct VerifiedText {
    /// The signed text alone, with `\n` line ends and blanks at the end of a
    /// line removed (they are not signed).
    pub text: String,
    /// Fingerprints of the keys that signed it validly, upper-case hex.
    pub signers: Vec<String>,
}

/// A set of trusted certificates.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// Whether [`DEBIAN`] counts, too.
    with_debian: bool,
    certificates: Vec<SignedPublicKey>,
    /// Keys that count for one suite of one archive alone, by its URL and suite.
    scoped: BTreeMap<(String, String), Keyring>,
}

impl Keyring {
    /// The keys of Debian 12 and 13 that are compiled in.
    #[must_use]
    pub fn debian() -> Keyring {
        Keyring {
            with_debian: true,
            ..Keyring::default()
        }
    }

    /// Adds all certificates of a keyring file, binary or armored.
    ///
    /// # Errors
    /// When it holds none or cannot be read.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), SignatureError> {
        self.certificates.extend(read_keys(bytes)?);
        Ok(())
    }

    /// Adds the certificates of a keyring file for `source` alone: they count for no
    /// other source, and no other keys count for it.
    ///
    /// # Errors
    /// When it holds none or cannot be read.
    pub fn add_for(&mut self, source: &Source, bytes: &[u8]) -> Result<(), SignatureError> {
        let name = (source.url.clone(), source.suite.clone());
        self.scoped.entry(name).or_default().add(bytes)
    }

    /// The keys that count for `source`: its own, else the common ones.
    #[must_use]
    pub fn of(&self, source: &Source) -> &Keyring {
        let name = (source.url.clone(), source.suite.clone());
        self.scoped.get(&name).unwrap_or(self)
    }

    /// Checks a clear-signed file and gives its signed text. One valid signature
    /// of a trusted key is enough, as for apt.
    ///
    /// # Errors
    /// When the file holds anything besides one signed text, or no signature
    /// is valid at `now`.
    pub fn verify(&self, file: &[u8], now: UnixTime) -> Result<VerifiedText, SignatureError> {
        self.verify_at(file, Some(now))
    }

    /// As [`Keyring::verify`], with every signature judged as of the time that it
    /// names itself: for files that are kept longer than their keys live.
    ///
    /// # Errors
    /// When the file holds anything besides one signed text, or no signature
    /// was valid when it was made.
    pub fn verify_as_made(&self, file: &[u8]) -> Result<VerifiedText, SignatureError> {
        self.verify_at(file, None)
    }

    fn verify_at(&self, file: &[u8], now: Option<UnixTime>) -> Result<VerifiedText, SignatureError> {
        let not_signed = |reason: &str| SignatureError::NotSigned {
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(file).map_err(|_| not_signed("it is not UTF-8"))?;
        if !text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----") {
            return Err(not_signed("text stands before the signed block"));
        }
        let end = "-----END PGP SIGNATURE-----";
        let after = text.find(end).ok_or_else(|| not_signed("it is cut off"))? + end.len();
        if !text[after..].trim().is_empty() {
            return Err(not_signed("text stands after the signed block"));
        }
        let (message, _) =
            CleartextSignedMessage::from_string(text).map_err(|e| not_signed(&e.to_string()))?;
        let signed = message.signed_text();
        let (mut signers, mut rejected) = (Vec::new(), Vec::new());
        for signature in message.signatures() {
            let now = now.or(made_at(signature)).unwrap_or(UnixTime::MAX - CLOCK_SLACK);
            match self.check(signature, signed.as_bytes(), now) {
                Ok(signer) => signers.push(signer),
                Err(reason) => rejected.push(RejectedSignature {
                    key: issuer(signature),
                    reason,
                }),
            }
        }
        if signers.is_empty() {
            return Err(SignatureError::Untrusted { rejected });
        }
        let text = signed.replace("\r\n", "\n");
        Ok(VerifiedText { text, signers })
    }

    fn check(&self, signature: &Signature, text: &[u8], now: UnixTime) -> Result<String, String> {
        if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
            return Err("made a signature of another kind".to_owned());
        }
        check_signature_times(signature, now)?;
        let mut reason = None;
        let built_in = self.with_debian.then(|| DEBIAN.iter());
        for certificate in built_in.into_iter().flatten().chain(&self.certificates) {
            match check_with(certificate, signature, text, now) {
                Some(Ok(fingerprint)) => return Ok(fingerprint),
                Some(Err(why)) => reason = Some(why),
                None => {}
            }
        }
        Err(reason.unwrap_or_else(|| "is not trusted for this archive".to_owned()))
    }
}

/// The certificates of a keyring file, at least one.
fn read_keys(bytes: &[u8]) -> Result<Vec<SignedPublicKey>, SignatureError> {
    let invalid = |reason: String| SignatureError::InvalidKeyring { reason };
    let (keys, _) =
        SignedPublicKey::from_reader_many_buf(bytes).map_err(|error| invalid(error.to_string()))?;
    let keys: Vec<_> = keys
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(error.to_string()))?;
    if keys.is_empty() {
        return Err(invalid("it holds no key".to_owned()));
    }
    Ok(keys)
}

/// Checks `signature` with the key of `certificate` that it names; `None` when
/// it names none of them.
fn check_with(
    certificate: &SignedPublicKey,
    signature: &Signature,
    text: &[u8],
    now: UnixTime,
) -> Option<Result<String, String>> {
    let primary = &certificate.primary_key;
    if is_issued_by(signature, primary) {
        return Some(
            check_primary(certificate, now, true)
                .and_then(|()| signature.verify(primary, text).map_err(|_| bad_signature()))
                .map(|()| hex(primary)),
        );
    }
    let subkey = certificate
        .public_subkeys
        .iter()
        .find(|subkey| is_issued_by(signature, &subkey.key))?;
    Some(
        check_primary(certificate, now, false)
            .and_then(|()| check_subkey(certificate, subkey, now))
            .and_then(|()| signature.verify(&subkey.key, text).map_err(|_| bad_signature()))
            .map(|()| hex(&subkey.key)),
    )
}

fn made_at(signature: &Signature) -> Option<UnixTime> {
    signature.created().map(|time| UnixTime::from(time.as_secs()))
}

fn bad_signature() -> String {
    "made a signature that does not match the text".to_owned()
}

fn hex(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

fn issuer(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return format!("{fingerprint:X}");
    }
    match signature.issuer_key_id().first() {
        Some(id) => id.to_string().to_uppercase(),
        None => "unknown".to_owned(),
    }
}

fn is_issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        let own = key.fingerprint();
        return fingerprints.iter().any(|fingerprint| **fingerprint == own);
    }
    let own = key.legacy_key_id();
    signature.issuer_key_id().iter().any(|id| **id == own)
}

/// A signature of `now`: strong, made in the past, not run out.
fn check_signature_times(signature: &Signature, now: UnixTime) -> Result<(), String> {
    let strong = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    if !strong {
        return Err("used a hash function that is too weak".to_owned());
    }
    let created = made_at(signature).ok_or("made a signature without a date")?;
    if created > now + CLOCK_SLACK {
        return Err(format!(
            "signed at {}, which is in the future",
            format_time(created)
        ));
    }
    match signature.signature_expiration_time() {
        Some(valid) if valid.as_secs() > 0 && created + UnixTime::from(valid.as_secs()) < now => {
            Err("made a signature that has expired".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_primary(certificate: &SignedPublicKey, now: UnixTime, signs: bool) -> Result<(), String> {
    let key = &certificate.primary_key;
    let details = &certificate.details;
    if details
        .revocation_signatures
        .iter()
        .any(|one| one.verify_key(key).is_ok())
    {
        return Err("is revoked".to_owned());
    }
    let by_user = details.users.iter().flat_map(|user| {
        let valid: Vec<&Signature> = user
            .signatures
            .iter()
            .filter(|one| is_issued_by(one, key))
            .filter(|one| one.verify_certification(key, Tag::UserId, &user.id).is_ok())
            .collect();
        let revoked = valid
            .iter()
            .any(|one| one.typ() == Some(SignatureType::CertRevocation));
        if revoked { Vec::new() } else { valid }
    });
    let direct = details
        .direct_signatures
        .iter()
        .filter(|one| one.verify_key(key).is_ok());
    let newest = by_user
        .chain(direct)
        .filter(|one| check_signature_times(one, now).is_ok())
        .max_by_key(|one| one.created().map(|time| time.as_secs()))
        .ok_or("has no valid self-signature")?;
    check_key_expiry(key, newest, now)?;
    if signs && !newest.key_flags().sign() {
        return Err("is not meant for signing".to_owned());
    }
    Ok(())
}

fn check_subkey(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: UnixTime,
) -> Result<(), String> {
    let primary = &certificate.primary_key;
    let bound: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|one| one.verify_subkey_binding(primary, &subkey.key).is_ok())
        .collect();
    if bound
        .iter()
        .any(|one| one.typ() == Some(SignatureType::SubkeyRevocation))
    {
        return Err("is revoked".to_owned());
    }
    let newest = bound
        .into_iter()
        .filter(|one| check_signature_times(one, now).is_ok())
        .max_by_key(|one| one.created().map(|time| time.as_secs()))
        .ok_or("has no valid binding to its primary key")?;
    check_key_expiry(&subkey.key, newest, now)?;
    let back_signed = newest
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if !newest.key_flags().sign() || !back_signed {
        return Err("is not meant for signing".to_owned());
    }
    Ok(())
}

/// The key's life starts when it was made; `source` is the signature that limits it.
fn check_key_expiry(key: &impl KeyDetails, source: &Signature, now: UnixTime) -> Result<(), String> {
    let Some(life) = source.key_expiration_time().filter(|life| life.as_secs() > 0) else {
        return Ok(());
    };
    let end = UnixTime::from(key.created_at().as_secs()) + UnixTime::from(life.as_secs());
    if end < now {
        return Err(format!("expired at {}", format_time(end)));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
