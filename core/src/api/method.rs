//! Every gRPC method that is served, by its path.

use crate::api::grpc::Status;
use crate::types::GrpcCode;

/// The shape of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One request, one answer.
    Unary,
    /// One request, a stream of answers.
    ServerStream,
    /// Streams both ways.
    Bidi,
}

impl Kind {
    /// The value of the metric label `grpc_type`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::Bidi => "bidi_stream",
        }
    }
}

macro_rules! methods {
    ($($service:literal { $($variant:ident $name:literal $kind:ident,)* })*) => {
        /// A method of one of the services.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Method { $($($variant,)*)* }

        impl Method {
            /// Every method.
            pub(crate) const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            fn by_path(path: &str) -> Option<Self> {
                match path {
                    $($(concat!("/", $service, "/", $name) => Some(Self::$variant),)*)*
                    _ => None,
                }
            }

            fn has_service(service: &str) -> bool {
                matches!(service, $($service)|*)
            }

            /// The full name of its service.
            pub(crate) const fn service(self) -> &'static str {
                match self { $($(Self::$variant => $service,)*)* }
            }

            /// Its name within the service.
            pub(crate) const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)*)* }
            }

            /// Its shape.
            pub(crate) const fn kind(self) -> Kind {
                match self { $($(Self::$variant => Kind::$kind,)*)* }
            }
        }
    };
}

methods! {
    "etcdserverpb.KV" {
        Range "Range" Unary,
        RangeStream "RangeStream" ServerStream,
        Put "Put" Unary,
        DeleteRange "DeleteRange" Unary,
        Txn "Txn" Unary,
        Compact "Compact" Unary,
    }
    "etcdserverpb.Watch" {
        Watch "Watch" Bidi,
    }
    "etcdserverpb.Lease" {
        LeaseGrant "LeaseGrant" Unary,
        LeaseRevoke "LeaseRevoke" Unary,
        LeaseKeepAlive "LeaseKeepAlive" Bidi,
        LeaseTimeToLive "LeaseTimeToLive" Unary,
        LeaseLeases "LeaseLeases" Unary,
    }
    "etcdserverpb.Cluster" {
        MemberAdd "MemberAdd" Unary,
        MemberRemove "MemberRemove" Unary,
        MemberUpdate "MemberUpdate" Unary,
        MemberList "MemberList" Unary,
        MemberPromote "MemberPromote" Unary,
    }
    "etcdserverpb.Maintenance" {
        Alarm "Alarm" Unary,
        Status "Status" Unary,
        Defragment "Defragment" Unary,
        Hash "Hash" Unary,
        HashKv "HashKV" Unary,
        Snapshot "Snapshot" ServerStream,
        MoveLeader "MoveLeader" Unary,
        Downgrade "Downgrade" Unary,
    }
    "etcdserverpb.Auth" {
        AuthEnable "AuthEnable" Unary,
        AuthDisable "AuthDisable" Unary,
        AuthStatus "AuthStatus" Unary,
        Authenticate "Authenticate" Unary,
        UserAdd "UserAdd" Unary,
        UserGet "UserGet" Unary,
        UserList "UserList" Unary,
        UserDelete "UserDelete" Unary,
        UserChangePassword "UserChangePassword" Unary,
        UserGrantRole "UserGrantRole" Unary,
        UserRevokeRole "UserRevokeRole" Unary,
        RoleAdd "RoleAdd" Unary,
        RoleGet "RoleGet" Unary,
        RoleList "RoleList" Unary,
        RoleDelete "RoleDelete" Unary,
        RoleGrantPermission "RoleGrantPermission" Unary,
        RoleRevokePermission "RoleRevokePermission" Unary,
    }
    "v3lockpb.Lock" {
        Lock "Lock" Unary,
        Unlock "Unlock" Unary,
    }
    "v3electionpb.Election" {
        Campaign "Campaign" Unary,
        Proclaim "Proclaim" Unary,
        Leader "Leader" Unary,
        Observe "Observe" ServerStream,
        Resign "Resign" Unary,
    }
    "grpc.health.v1.Health" {
        HealthCheck "Check" Unary,
        HealthList "List" Unary,
        HealthWatch "Watch" ServerStream,
    }
}

impl Method {
    /// Looks a method up; a path without one gets grpc-go's answer.
    pub(crate) fn find(path: &str) -> Result<Self, Status> {
        Self::by_path(path).ok_or_else(|| {
            let unimplemented = |text| Status::new(GrpcCode::Unimplemented, text);
            let Some((service, method)) = path.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) else {
                return unimplemented(format!("malformed method name: {}", super::grpc::quote(path.as_bytes())));
            };
            if Self::has_service(service) {
                unimplemented(format!("unknown method {method} for service {service}"))
            } else {
                unimplemented(format!("unknown service {service}"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_path() {
        for (number, method) in Method::ALL.iter().enumerate() {
            assert_eq!(*method as usize, number);
            let path = format!("/{}/{}", method.service(), method.name());
            assert_eq!(Method::find(&path), Ok(*method));
        }
    }

    #[test]
    fn what_is_not_served_is_named() {
        let text = |path| Method::find(path).map_err(|status| status.message().to_owned());
        assert_eq!(text("/etcdserverpb.KV/Nope"), Err("unknown method Nope for service etcdserverpb.KV".to_owned()));
        assert_eq!(text("/a.B/c/Nope"), Err("unknown service a.B/c".to_owned()));
        assert_eq!(text("/nope"), Err("malformed method name: \"/nope\"".to_owned()));
    }
}
