//! Keys of Ed25519.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::der;
use super::key::{Key, KeyError, public_of};

/// What stands for it in a public key.
const OID: &str = "1.3.101.112";

const PUBLIC_KEY_BYTES: usize = 32;

pub(super) fn key(private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Key, KeyError> {
    let private = private.map(|pem| der::find(pem, read_private)).transpose().map_err(KeyError::Private)?;
    let public = public.map(|pem| der::find(pem, read_public)).transpose().map_err(KeyError::Public)?;
    let of_private = private.as_ref().map(|pair| pair.public_key().as_ref().to_vec());
    let public = UnparsedPublicKey::new(&ED25519, public_of(of_private, public)?);
    let sign = private.map(|pair| move |message: &[u8]| Ok(pair.sign(message).as_ref().to_vec()));
    Ok(Key::pair(sign, move |message, signature| public.verify(message, signature).is_ok()))
}

/// PKCS #8; without the public key too, which is how OpenSSL writes them.
fn read_private(der: &[u8]) -> Result<Ed25519KeyPair, String> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|e| e.to_string())
}

fn read_public(der: &[u8]) -> Result<Vec<u8>, String> {
    let key = der::public_key(der)?;
    let bytes = key.subject_public_key.data.as_ref();
    if key.algorithm.algorithm.to_id_string() == OID && bytes.len() == PUBLIC_KEY_BYTES {
        Ok(bytes.to_vec())
    } else {
        Err("its public key is of another kind".to_owned())
    }
}
