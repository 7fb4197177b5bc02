//! The key that signs and checks, whatever its kind.

use p256::NistP256;
use p384::NistP384;
use p521::NistP521;
use ring::{hmac, signature};

use super::method::Method;
use super::{SignError, ecdsa, ed25519, rsa};

type Sign = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, SignError> + Send + Sync>;
type Verify = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// A key for one method; one that is only public cannot sign.
pub(super) struct Key {
    sign: Option<Sign>,
    verify: Verify,
}

/// Why there is no key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// Neither key is there, or a method with a shared secret lacks it.
    Missing,
    /// They do not belong together.
    Mismatch,
    /// What is wrong with the private key.
    Private(String),
    /// What is wrong with the public key.
    Public(String),
}

impl Key {
    /// From the texts of key files. A shared secret is the private one, to the byte.
    pub(super) fn new(method: Method, private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Self, KeyError> {
        use signature as s;
        match method {
            Method::Hs256 => secret(hmac::HMAC_SHA256, private),
            Method::Hs384 => secret(hmac::HMAC_SHA384, private),
            Method::Hs512 => secret(hmac::HMAC_SHA512, private),
            Method::Rs256 => rsa::key(&s::RSA_PKCS1_SHA256, &s::RSA_PKCS1_2048_8192_SHA256, private, public),
            Method::Rs384 => rsa::key(&s::RSA_PKCS1_SHA384, &s::RSA_PKCS1_2048_8192_SHA384, private, public),
            Method::Rs512 => rsa::key(&s::RSA_PKCS1_SHA512, &s::RSA_PKCS1_2048_8192_SHA512, private, public),
            Method::Ps256 => rsa::key(&s::RSA_PSS_SHA256, &s::RSA_PSS_2048_8192_SHA256, private, public),
            Method::Ps384 => rsa::key(&s::RSA_PSS_SHA384, &s::RSA_PSS_2048_8192_SHA384, private, public),
            Method::Ps512 => rsa::key(&s::RSA_PSS_SHA512, &s::RSA_PSS_2048_8192_SHA512, private, public),
            Method::Es256 => ecdsa::key::<NistP256>(private, public),
            Method::Es384 => ecdsa::key::<NistP384>(private, public),
            Method::Es512 => ecdsa::key::<NistP521>(private, public),
            Method::EdDsa => ed25519::key(private, public),
        }
    }

    /// `public` checks what `private`, if there is one, signs.
    pub(super) fn pair(
        private: Option<impl Fn(&[u8]) -> Result<Vec<u8>, SignError> + Send + Sync + 'static>,
        public: impl Fn(&[u8], &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { sign: private.map(|sign| Box::new(sign) as Sign), verify: Box::new(public) }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.sign.as_ref().ok_or(SignError::VerifyOnly)?(message)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        (self.verify)(message, signature)
    }
}

/// The public key to check with: the one that is given, which must be that of the private key if both are.
pub(super) fn public_of<P: PartialEq>(of_private: Option<P>, given: Option<P>) -> Result<P, KeyError> {
    match (of_private, given) {
        (Some(of_private), Some(given)) if of_private != given => Err(KeyError::Mismatch),
        (of_private, given) => of_private.or(given).ok_or(KeyError::Missing),
    }
}

fn secret(algorithm: hmac::Algorithm, private: Option<&[u8]>) -> Result<Key, KeyError> {
    let key = hmac::Key::new(algorithm, private.ok_or(KeyError::Missing)?);
    let other = key.clone();
    Ok(Key::pair(Some(move |message: &[u8]| Ok(hmac::sign(&key, message).as_ref().to_vec())), move |message, tag| {
        hmac::verify(&other, message, tag).is_ok()
    }))
}
