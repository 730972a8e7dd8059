//! Trust in a certificate of the own node that has expired.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Verifies as rustls does, but what the own node shows counts as if it were the moment at which it expired.
///
/// A server goes on with a certificate that has expired while it ran, its clients and peers leave it, and it can be told to
/// read a new one only over TLS. The own node is asked inside the task, so that nobody else can show its old certificate there.
#[derive(Debug)]
pub(crate) struct OwnMayHaveExpired {
    verifier: Arc<WebPkiServerVerifier>,
    own: ServerName<'static>,
}

impl OwnMayHaveExpired {
    pub(crate) fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>, own_name: &str) -> Result<Self, Error> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let unusable = |error: &dyn std::error::Error| Error::General(error.to_string());
        let verifier = builder.build().map_err(|error| unusable(&error))?;
        let own = ServerName::try_from(own_name.to_owned()).map_err(|error| unusable(&error))?;
        Ok(Self { verifier, own })
    }
}

impl ServerCertVerifier for OwnMayHaveExpired {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify =
            |time| self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time);
        match verify(now) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }))
                if *server_name == self.own =>
            {
                verify(not_after)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use certgen::{Authority, Names, RsaBits, Validity, issue_authority, issue_node};
    use rustls::pki_types::pem::PemObject as _;
    use time::OffsetDateTime;

    use super::*;

    fn at(time: OffsetDateTime) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(time.unix_timestamp().try_into().unwrap()))
    }

    #[test]
    fn only_the_own_node_may_show_what_has_expired_and_only_of_a_trusted_root() {
        let issued = OffsetDateTime::now_utc();
        let authority = || issue_authority(Validity::AUTHORITY, issued).unwrap();
        let (trusted, other) = (authority(), authority());
        let names = Names::with_loopback(["peer.test".parse().unwrap()], []);
        let issue = |authority: &Authority| {
            let node = issue_node(authority, &names, "24h".parse().unwrap(), RsaBits::B2048, issued).unwrap();
            CertificateDer::from_pem_slice(node.certificate.as_bytes()).unwrap()
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.certificate().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let subject = OwnMayHaveExpired::new(roots, &provider, "localhost").unwrap();
        let verifies = |certificate: &CertificateDer<'_>, name: &'static str, hours: i64| {
            let name = ServerName::try_from(name).unwrap();
            subject.verify_server_cert(certificate, &[], &name, &[], at(issued + time::Duration::hours(hours)))
        };
        let (ours, foreign) = (issue(&trusted), issue(&other));
        for (certificate, name, hours, expected) in [
            (&ours, "localhost", 1, true),
            (&ours, "localhost", 1000, true),
            (&ours, "localhost", -48, false),
            (&ours, "peer.test", 1, true),
            (&ours, "peer.test", 1000, false),
            (&ours, "elsewhere.test", 1000, false),
            (&foreign, "localhost", 1, false),
            (&foreign, "localhost", 1000, false),
        ] {
            let outcome = verifies(certificate, name, hours);
            assert_eq!(outcome.is_ok(), expected, "{name} after {hours} h: {outcome:?}");
        }
    }
}
