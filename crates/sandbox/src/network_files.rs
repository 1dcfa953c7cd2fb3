//! Contents of `/etc/hosts` and `/etc/resolv.conf` as BuildKit generates them.

/// Used when no name server is left, as BuildKit does it.
const PUBLIC_SERVERS: [&str; 4] = [
    "8.8.8.8",
    "8.8.4.4",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
];

/// `/etc/hosts`: localhost and the sandbox's own name, IPv6 localhost, then `extra` as
/// `(host name, address)` in order.
pub fn hosts(hostname: &str, extra: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n");
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}

/// The host file to read for [`resolv_conf`]: systemd-resolved's own list when `host` (the content
/// of `/etc/resolv.conf`) names only its local stub 127.0.0.53, else the same file.
pub fn resolv_conf_path(host: &[u8]) -> &'static str {
    let servers = nameservers(host);
    match servers.as_slice() {
        [only] if only == "127.0.0.53" => "/run/systemd/resolve/resolv.conf",
        _ => "/etc/resolv.conf",
    }
}

/// `/etc/resolv.conf` from the host's. With the host's network it is the same text; in a network
/// of its own (`isolated`) loopback servers are left out. Public servers are used when none is left.
pub fn resolv_conf(host: &[u8], isolated: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(host);
    let mut lines: Vec<String> = Vec::new();
    let mut servers = 0;
    for line in text.lines() {
        match server_of(line) {
            Some(server) if isolated && is_loopback(server) => {}
            Some(_) => {
                servers += 1;
                lines.push(line.to_owned());
            }
            None => lines.push(line.to_owned()),
        }
    }
    if servers == 0 {
        lines.extend(PUBLIC_SERVERS.map(|server| format!("nameserver {server}")));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text.into_bytes()
}

fn nameservers(content: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(content)
        .lines()
        .filter_map(|line| server_of(line).map(str::to_owned))
        .collect()
}

fn server_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next())?
}

fn is_loopback(server: &str) -> bool {
    let address = server.split('%').next().unwrap_or(server);
    address
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_buildkit() {
        let extra = [("db".to_owned(), "10.1.2.3".to_owned())];
        let text = "127.0.0.1\tlocalhost h\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\n";
        assert_eq!(hosts("h", &extra), text.as_bytes());
    }

    #[test]
    fn the_stub_resolver_points_to_the_real_list() {
        let real = "/run/systemd/resolve/resolv.conf";
        assert_eq!(resolv_conf_path(b"nameserver 127.0.0.53\noptions edns0\n"), real);
        let both = b"nameserver 127.0.0.53\nnameserver 1.1.1.1\n";
        assert_eq!(resolv_conf_path(both), "/etc/resolv.conf");
        assert_eq!(resolv_conf_path(b""), "/etc/resolv.conf");
    }

    #[test]
    fn resolv_conf_keeps_what_is_reachable() {
        let host = "# c\nsearch a b\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver ::1%lo\n";
        assert_eq!(resolv_conf(host.as_bytes(), false), host.as_bytes());
        assert_eq!(
            String::from_utf8(resolv_conf(host.as_bytes(), true)).unwrap(),
            "# c\nsearch a b\nnameserver 192.0.2.1\n"
        );
        let public = String::from_utf8(resolv_conf(b"nameserver 127.0.0.1\n", true)).unwrap();
        assert_eq!(public.lines().next(), Some("nameserver 8.8.8.8"));
        assert_eq!(public.lines().count(), 4);
    }
}
