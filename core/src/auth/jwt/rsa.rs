//! RSA keys.

use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{RsaEncoding, RsaParameters};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::{PublicKey, RSAPublicKey};

use super::SignError;
use super::der;
use super::key::{Key, KeyError, public_of};

/// Modulus and exponent, without leading zeros.
type Public = (Vec<u8>, Vec<u8>);

pub(super) fn key(
    signing: &'static dyn RsaEncoding,
    verifying: &'static RsaParameters,
    private: Option<&[u8]>,
    public: Option<&[u8]>,
) -> Result<Key, KeyError> {
    let private = private.map(|pem| der::find(pem, read_private)).transpose().map_err(KeyError::Private)?;
    let public = public.map(|pem| der::find(pem, read_public)).transpose().map_err(KeyError::Public)?;
    let of_private = private.as_ref().map(|pair| {
        let PublicKeyComponents { n, e } = pair.public().into();
        (n, e)
    });
    let (n, e) = public_of(of_private, public)?;
    let public = PublicKeyComponents { n, e };
    let sign = private.map(|pair| {
        move |message: &[u8]| {
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(signing, &SystemRandom::new(), message, &mut signature).map_err(|_| SignError::Failed)?;
            Ok(signature)
        }
    });
    Ok(Key::pair(sign, move |message, signature| public.verify(verifying, message, signature).is_ok()))
}

/// PKCS #1 or PKCS #8.
fn read_private(der: &[u8]) -> Result<KeyPair, String> {
    KeyPair::from_pkcs8(der).or_else(|_| KeyPair::from_der(der)).map_err(|e| e.to_string())
}

/// With its algorithm, in a certificate, or PKCS #1.
fn read_public(der: &[u8]) -> Result<Public, String> {
    let components = |key: &RSAPublicKey<'_>| {
        let trimmed = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let (n, e) = (trimmed(key.modulus), trimmed(key.exponent));
        // Others would be refused at each use.
        if (256..=1024).contains(&n.len()) { Ok((n, e)) } else { Err("it has not 2048 to 8192 bits".to_owned()) }
    };
    if let Ok(([], key)) = RSAPublicKey::from_der(der) {
        return components(&key);
    }
    match der::public_key(der)?.parsed() {
        Ok(PublicKey::RSA(key)) => components(&key),
        _ => Err("its public key is of another kind".to_owned()),
    }
}
