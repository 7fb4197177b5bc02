//! Keys of the curves of NIST, with the digest that goes with each.

use ecdsa::elliptic_curve::ops::Invert;
use ecdsa::elliptic_curve::pkcs8::{AssociatedOid, DecodePrivateKey, DecodePublicKey};
use ecdsa::elliptic_curve::point::AffinePoint;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::subtle::CtOption;
use ecdsa::elliptic_curve::{CurveArithmetic, FieldBytesSize, PublicKey, Scalar, SecretKey};
use ecdsa::signature::{Signer, Verifier};
use ecdsa::{DigestAlgorithm, EcdsaCurve, Signature, SigningKey, VerifyingKey};

use super::SignError;
use super::der;
use super::key::{Key, KeyError, public_of};

pub(super) fn key<C>(private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Key, KeyError>
where
    C: EcdsaCurve + CurveArithmetic + DigestAlgorithm + AssociatedOid,
    Scalar<C>: Invert<Output = CtOption<Scalar<C>>>,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    // PKCS #8 or SEC 1.
    let read_private = |der: &[u8]| {
        let key = SecretKey::<C>::from_pkcs8_der(der).or_else(|_| SecretKey::from_sec1_der(der));
        key.map_err(|_| "it has no private key of this curve".to_owned())
    };
    let read_public = |der: &[u8]| {
        let key = PublicKey::<C>::from_public_key_der(der::public_key(der)?.raw);
        key.map_err(|_| "its public key is not one of this curve".to_owned())
    };
    let private = private.map(|pem| der::find(pem, read_private)).transpose().map_err(KeyError::Private)?;
    let public = public.map(|pem| der::find(pem, read_public)).transpose().map_err(KeyError::Public)?;
    let public = VerifyingKey::from(public_of(private.as_ref().map(SecretKey::public_key), public)?);
    let sign = private.map(SigningKey::from).map(|key| {
        move |message: &[u8]| {
            let signature: Signature<C> = key.try_sign(message).map_err(|_| SignError::Failed)?;
            Ok(signature.to_bytes().to_vec())
        }
    });
    Ok(Key::pair(sign, move |message, signature| {
        Signature::<C>::from_slice(signature).is_ok_and(|signature| public.verify(message, &signature).is_ok())
    }))
}
