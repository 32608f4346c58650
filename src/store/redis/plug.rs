//! An address in the driver's terms.

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    TlsCertificates,
};

use super::{
    address::{Address, Host},
    failure::Failure,
};

/// How to reach `host`; `known` says whether user and password are for it.
pub(super) fn info(address: &Address, host: &Host, known: bool) -> Result<ConnectionInfo, Failure> {
    let (name, port) = (host.name.clone(), host.port);
    let place = if address.tls {
        ConnectionAddr::TcpTls {
            host: name,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(name, port)
    };
    let mut settings = RedisConnectionInfo::default()
        .set_db(i64::from(address.database))
        .set_skip_set_lib_name();
    let credentials = address.credentials();
    if let (true, Some(user)) = (known, &credentials.user) {
        settings = settings.set_username(user);
    }
    if let (true, Some(password)) = (known, &credentials.password) {
        settings = settings.set_password(password.danger_expose());
    }
    Ok(place.into_connection_info()?.set_redis_settings(settings))
}

/// A client of `host`, as the user of the address.
pub(super) fn client(
    address: &Address,
    host: &Host,
    trust: Option<&[u8]>,
) -> Result<Client, Failure> {
    build(address, info(address, host, true)?, trust)
}

/// A client of whatever `info` says.
pub(super) fn build(
    address: &Address,
    info: ConnectionInfo,
    trust: Option<&[u8]>,
) -> Result<Client, Failure> {
    if address.tls {
        return Ok(Client::build_with_tls(info, certificates(trust))?);
    }
    Ok(Client::open(info)?)
}

/// What to trust: `trust`, in PEM, or the platform's certificates.
pub(super) fn certificates(trust: Option<&[u8]>) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert: trust.map(<[u8]>::to_vec),
    }
}
