//! Which browsers and which names of this member plain HTTP is for.

/// Origins and host names that are accepted. In either list `*` stands for all, and so does an empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Origins that browsers may call from.
    pub origins: Vec<String>,
    /// Names in requests without TLS. A name that is not this member's may be one that somebody made point here, so that
    /// browsers believe pages of that name to be allowed to call ("DNS rebinding").
    pub hosts: Vec<String>,
}

impl Access {
    /// The origin that a browser is told to be allowed, if any: `*`, or that which asks.
    pub(super) fn allowed_origin<'a>(&self, asks: Option<&'a str>) -> Option<&'a str> {
        if allows(&self.origins, "*") { Some("*") } else { asks.filter(|origin| allows(&self.origins, origin)) }
    }

    /// Whether requests for a host are answered; the name may have a port.
    pub(super) fn allows_host(&self, host: &str) -> bool {
        allows(&self.hosts, without_port(host))
    }
}

fn allows(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|allowed| allowed == "*" || allowed == name)
}

/// A host as it is compared: without its port, and an address of IPv6 without brackets then.
pub(super) fn without_port(host: &str) -> &str {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    match bracketed.or_else(|| host.split_once(':')) {
        Some((name, port)) if !port.contains([':', ']']) && !name.contains(['[', ']']) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// CVE-2018-1098: pages of any origin could have a browser send requests, and read the answers.
    #[test]
    fn cve_2018_1098_other_origins_are_told_nothing() {
        let all = Access::default();
        assert_eq!(all.allowed_origin(Some("http://evil.example")), Some("*"));
        let one = Access { origins: list(&["http://good.example"]), hosts: Vec::new() };
        assert_eq!(one.allowed_origin(Some("http://good.example")), Some("http://good.example"));
        assert_eq!(one.allowed_origin(Some("http://evil.example")), None);
        assert_eq!(one.allowed_origin(None), None);
    }

    /// CVE-2018-1099: a name of somebody else that points here.
    #[test]
    fn cve_2018_1099_names_of_others_are_not_answered() {
        assert!(Access::default().allows_host("evil.example"));
        let some = Access { origins: Vec::new(), hosts: list(&["localhost", "127.0.0.1", "::1"]) };
        for host in ["localhost", "localhost:2379", "127.0.0.1:2379", "[::1]:2379"] {
            assert!(some.allows_host(host), "{host}");
        }
        for host in ["evil.example", "evil.example:2379", "", "[::1]", "localhost.evil.example"] {
            assert!(!some.allows_host(host), "{host}");
        }
    }
}
