//! Lines about TLS that failed.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::TlsRole;

/// Why a connection with TLS failed, and what to do.
pub fn explain(error: &io::Error, role: TlsRole) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection within the TLS handshake".to_owned(),
            _ => error.to_string(),
        };
    };
    match tls {
        Error::InvalidCertificate(why) => format!("its certificate is not accepted: {}", certificate(why, role)),
        Error::NoCertificatesPresented => {
            "it shows no certificate, and one is demanded here: give it one signed by a CA that is trusted here"
                .to_owned()
        }
        Error::AlertReceived(alert) => format!("it ended the TLS handshake: {}", told(*alert)),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS: use http:// in its URL, or make it listen on https://".to_owned()
        }
        Error::PeerIncompatible(why) => {
            format!(
                "there is no version or cipher suite of TLS that both sides speak ({why:?}): compare --tls-min-version, --tls-max-version and --cipher-suites"
            )
        }
        other => other.to_string(),
    }
}

/// In words of our own: those of the library name the second, so that no two lines would be the same.
fn certificate(why: &CertificateError, role: TlsRole) -> String {
    let other = role.other();
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it is over; renew it, or check the clocks".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check the clocks".to_owned()
        }
        CertificateError::Revoked => format!("it is revoked; give that {other} another one"),
        // The other one is a CA of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("no CA that is trusted here signed it; check {}", role.trusted_ca())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not for this host; make one for the host in the URL".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => match role {
            TlsRole::Peers => {
                "it is not meant for this; members need certificates for both servers and clients".to_owned()
            }
            TlsRole::Clients => "it is not meant for clients; make one that is".to_owned(),
        },
        CertificateError::Other(why) => why.0.to_string(),
        other => format!("{other:?}; make another one"),
    }
}

fn told(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not trust the CA of this member's certificate"
        }
        AlertDescription::CertificateRequired => "it demands a certificate, and this member showed none",
        AlertDescription::CertificateExpired => "this member's certificate is over, by its clock",
        AlertDescription::CertificateRevoked => "this member's certificate is revoked",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => "it does not accept this member's certificate",
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that is spoken here",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it accepts no cipher suite that is offered here, or demands a certificate"
        }
        other => return format!("{other:?}"),
    };
    format!("{text}; its log says more")
}
