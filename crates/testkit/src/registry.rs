//! A real registry, Debian's `docker-registry`, on a port of this machine.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::eventually;

/// A registry that ends when it is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Registry {
    /// The user of [`start_with_login`](Self::start_with_login).
    pub const USER: &str = "user";
    /// That user's password.
    pub const PASSWORD: &str = "password";
    /// Its line in a file of passwords; the registry takes bcrypt alone.
    const LINE: &str = "user:$2y$04$Z9gGBMrUOkwcXdkSHKhIxO/AmfTCoS1dLNpw93.A7iznZD5nW0X9u";

    /// A registry that asks nobody, over plain http.
    pub fn start() -> Self {
        Self::with(false, false, false)
    }

    /// A registry that wants [`USER`](Self::USER) and [`PASSWORD`](Self::PASSWORD).
    pub fn start_with_login() -> Self {
        Self::with(true, false, false)
    }

    /// A registry that speaks https with a certificate for `localhost` which nobody signed but [itself](Self::ca).
    pub fn start_with_tls() -> Self {
        Self::with(false, true, false)
    }

    /// The same, which wants that certificate of its clients too.
    pub fn start_with_client_tls() -> Self {
        Self::with(false, true, true)
    }

    fn with(login: bool, tls: bool, client: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        let storage = at("storage");
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {storage:?}}}\n  delete: {{enabled: true}}\n"
        );
        if login {
            std::fs::write(at("htpasswd"), Self::LINE).expect("a file of passwords");
            config.push_str(&format!("auth:\n  htpasswd: {{realm: test, path: {:?}}}\n", at("htpasswd")));
        }
        config.push_str("http:\n  addr: 127.0.0.1:0\n  secret: test\n");
        if tls {
            // The default configuration would make it an authority, which rustls does not take for a server.
            std::fs::write(at("openssl.cnf"), "[req]\ndistinguished_name = dn\n[dn]\n")
                .expect("a configuration");
            let made = Command::new("openssl")
                .env("OPENSSL_CONF", at("openssl.cnf"))
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
                .args([
                    "-days",
                    "2",
                    "-subj",
                    "/CN=localhost",
                    "-addext",
                    "subjectAltName=DNS:localhost",
                    "-keyout",
                ])
                .arg(at("key.pem"))
                .arg("-out")
                .arg(at("ca.pem"))
                .stderr(Stdio::null())
                .status()
                .expect("openssl runs");
            assert!(made.success(), "openssl makes a certificate");
            let (certificate, key) = (at("ca.pem"), at("key.pem"));
            config.push_str(&format!("  tls:\n    certificate: {certificate:?}\n    key: {key:?}\n"));
            if client {
                config.push_str(&format!("    clientcas: [{certificate:?}]\n"));
            }
        }
        std::fs::write(at("config.yml"), config).expect("a configuration");
        let log = std::fs::File::create(at("log")).expect("a log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(at("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry is installed (tools/prepare test)");
        let mut registry = Self { child, dir, port: 0 };
        // It says which port the kernel gave it.
        let started = eventually(Duration::from_secs(20), || {
            let log = registry.log();
            let port = log.split("listening on 127.0.0.1:").nth(1);
            let port = port.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
            registry.port = port.unwrap_or(0);
            registry.port != 0
        });
        assert!(started, "docker-registry does not start:\n{}", registry.log());
        registry
    }

    /// `localhost:port`.
    pub fn name(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The certificate of [`start_with_tls`](Self::start_with_tls).
    pub fn ca(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The key of that certificate.
    pub fn key(&self) -> std::path::PathBuf {
        self.dir.path().join("key.pem")
    }

    /// Where it keeps what it was sent.
    pub fn storage(&self) -> std::path::PathBuf {
        self.dir.path().join("storage")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(Path::new(self.dir.path()).join("log")).unwrap_or_default()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
