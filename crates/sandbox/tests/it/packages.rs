//! Layers of packages: built in a sandbox of their own, below sessions afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use ostler_core::ids::SessionId;
use ostler_core::time::Timestamp;
use ostler_sandbox::{BuildAs, Connection, Layer, SandboxError, SandboxSpec, Sandboxes};

use crate::home::{Home, bash, incarnation, session, sh, text};

const KEY: &str = "0123abcd";

fn building(by: BuildAs) -> SandboxSpec {
    SandboxSpec { build: Some(by), disk_inodes: 1_000_000, ..SandboxSpec::default() }
}

fn on(key: &str) -> SandboxSpec {
    SandboxSpec { packages: Some(key.to_owned()), ..SandboxSpec::default() }
}

async fn begin(home: &Home, by: BuildAs) -> (SessionId, Connection) {
    let (id, life) = home.sandboxes.build_names().unwrap();
    let connection = home.sandboxes.create(&id, &life, &building(by)).await.unwrap();
    (id, connection)
}

async fn build(home: &Home, by: BuildAs, commands: &[&str]) -> Layer {
    let (id, connection) = begin(home, by).await;
    for command in commands {
        sh(&connection, command).await;
    }
    home.sandboxes.keep_layer(&id, KEY, None, Timestamp(1)).await.unwrap()
}

async fn start(sandboxes: &Sandboxes, spec: &SandboxSpec) -> Result<(SessionId, Connection), SandboxError> {
    let id = session();
    sandboxes.create(&id, &incarnation(), spec).await.map(|connection| (id, connection))
}

#[tokio::test]
async fn what_a_build_wrote_is_below_sessions_and_cannot_be_written_there() {
    let home = Home::new().await;
    for by in [BuildAs::Root, BuildAs::Agent] {
        let commands = [
            "printf '#!/bin/sh\\necho hello\\n' > /usr/local/bin/hello && chmod 755 /usr/local/bin/hello",
            "mkdir -p /usr/share/made/empty /opt/thing /var/lib/thing && echo a > /opt/thing/a && echo b > /var/lib/thing/b",
            "rm -r /usr/share/doc/bash && ! ls /usr/share/doc/bash",
            "ln -s /etc/shadow /usr/local/bin/away; ln -s ../../../../../../etc /usr/share/made/out; mkfifo /usr/share/made/pipe",
            "cp /bin/true /usr/local/bin/rooted && chmod 6755 /usr/local/bin/rooted",
        ];
        let layer = build(&home, by, &commands).await;
        assert!(layer.entries < 60 && layer.bytes > 0, "what is of the system is not in it: {layer:?}");
        assert_eq!(home.sandboxes.verified_layer(KEY).await.unwrap(), Some(layer));
        let (id, connection) = start(&home.sandboxes, &on(KEY)).await.unwrap();
        assert_eq!(
            sh(
                &connection,
                "hello; cat /opt/thing/a /var/lib/thing/b; ls -d /usr/share/made/empty; test -e /usr/share/doc/bash || echo gone"
            )
            .await,
            "hello\na\nb\n/usr/share/made/empty\ngone"
        );
        assert_eq!(
            sh(&connection, "python3 -c 'print(1)'; test -d /var/tmp && echo tmp; ls -A / | grep -c '^[.]'; true").await,
            "1\ntmp\n0"
        );
        for command in [
            "touch /usr/local/bin/x",
            "touch /opt/x",
            "touch /var/lib/x",
            "rm /usr/local/bin/hello",
            "echo x >> /usr/local/bin/hello",
            "ls /run/ostler-build",
            "test -p /usr/share/made/pipe",
            "test -u /usr/local/bin/rooted",
            "cat /usr/local/bin/away",
            "ls /.layer",
        ] {
            let outcome = connection.run(&bash(command)).await.unwrap();
            assert!(outcome.is_error, "{command}: {}", text(&outcome));
        }
        assert_eq!(home.sandboxes.layers_in_use().await.unwrap().into_iter().collect::<Vec<_>>(), [KEY]);
        let (_, plain) = start(&home.sandboxes, &SandboxSpec::default()).await.unwrap();
        assert!(connection.run(&bash("hello")).await.is_ok() && plain.run(&bash("hello")).await.unwrap().is_error, "others do not have it");
        home.sandboxes.remove(&id).await.unwrap();
        assert!(home.sandboxes.layers_in_use().await.unwrap().is_empty());
        home.sandboxes.remove_layer(KEY).await.unwrap();
        assert!(home.sandboxes.list_layers().unwrap().is_empty());
        assert!(start(&home.sandboxes, &on(KEY)).await.unwrap_err().to_string().contains("gone"));
    }
    home.end().await;
}

#[tokio::test]
async fn a_layer_that_was_changed_from_outside_is_refused() {
    let home = Home::new().await;
    build(&home, BuildAs::Agent, &["echo 1 > /usr/local/lib/a"]).await;
    let file = home.path().join("layers").join(KEY).join("files/usr/local/lib/a");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "it belongs to no sandbox");
    fs::write(&file, "2\n").unwrap();
    let next = home.server(2).await;
    let error = start(&next, &on(KEY)).await.unwrap_err().to_string();
    assert!(error.contains("not what was built") && error.contains("--build"), "{error}");
    next.remove_layer(KEY).await.unwrap();
    assert_eq!(next.verified_layer(KEY).await.unwrap(), None);
    home.end().await;
}

#[tokio::test]
async fn what_is_left_of_a_build_whose_server_died_is_removed_and_never_used() {
    let home = Home::new().await;
    let (id, connection) = begin(&home, BuildAs::Root).await;
    sh(&connection, "touch /usr/local/half").await;
    let half = home.path().join("layers").join(format!("{KEY}.next"));
    fs::create_dir_all(half.join("files/usr")).unwrap();
    let next = home.server(2).await;
    assert!(next.kept().await.unwrap().is_empty(), "it is nobody's session");
    assert_eq!(next.tried().await.unwrap(), std::slice::from_ref(&id));
    next.abandon_builds().await.unwrap();
    assert!(next.list().await.unwrap().is_empty() && !half.exists() && !home.path().join(id.as_str()).exists());
    assert!(next.list_layers().unwrap().is_empty());
    home.end().await;
}

/// What the root of a build may not, although it is one.
#[tokio::test]
async fn a_hostile_build_is_contained() {
    let home = Home::new().await;
    let (id, connection) = begin(&home, BuildAs::Root).await;
    assert_eq!(sh(&connection, "id -u; grep CapEff /proc/self/status").await, "0\nCapEff:\t00000000000000db");
    for command in [
        "mount -t tmpfs x /mnt",
        "mknod /dev/sdx b 8 0 || mknod /usr/sdx b 8 0",
        "mknod /usr/mem c 1 1",
        "unshare -r true || unshare -m true",
        "echo x > /proc/sys/kernel/hostname || hostname x",
        "cat /proc/1/environ; ls -l /proc/1/fd",
        "chroot / true",
        "ip link add x type dummy || echo 1 > /proc/sys/net/ipv4/ip_forward",
        "touch /run/ostler-build/usr/x",
        "touch /x",
        "curl -sS -m 3 http://1.1.1.1/",
        "kill -9 1; sleep 0.1; test ! -d /proc/1",
        "setfattr -n trusted.x -v y /usr/local/bin 2>/dev/null || setcap cap_sys_admin+ep /usr/local/bin/x",
    ] {
        let outcome = connection.run(&bash(command)).await.unwrap();
        assert!(outcome.is_error, "{command}: {}", text(&outcome));
    }
    // Names and links that lead out of the layer stay what they are inside.
    sh(&connection, "mv /var/lib /var/moved; ln -s /etc /var/lib; ln -s /home /usr/local/lib/out; mkdir /opt/'..%2f'; rm -rf /etc/ssl; ln -s / /etc/ssl").await;
    sh(&connection, "echo x > /etc/ld.so.preload; echo evil::0:0::/:/bin/sh >> /etc/passwd; echo ok > /etc/fine.conf; cp /etc/ostler-trust/certificates.pem /usr/ 2>/dev/null; true").await;
    let layer = home.sandboxes.keep_layer(&id, KEY, None, Timestamp(1)).await.unwrap();
    assert!(layer.entries > 0);
    let (_, session) = start(&home.sandboxes, &on(KEY)).await.unwrap();
    assert_eq!(sh(&session, "cat /etc/fine.conf; test -e /etc/ld.so.preload || grep -c evil /etc/passwd; true").await, "ok\n0");
    assert!(!sh(&session, "ls /etc/ssl").await.contains("shadow"));
    home.end().await;
}

#[tokio::test]
async fn a_build_that_fills_the_disk_is_ended() {
    let home = Home::new().await;
    let (id, life) = home.sandboxes.build_names().unwrap();
    let spec = SandboxSpec { disk_bytes: 64 << 20, ..building(BuildAs::Root) };
    let connection = home.sandboxes.create(&id, &life, &spec).await.unwrap();
    let outcome = connection.run(&bash("while :; do head -c 8M /dev/urandom > /usr/local/lib/$RANDOM$RANDOM; done")).await.unwrap();
    assert!(outcome.is_error && text(&outcome).contains("disk limit"), "{}", text(&outcome));
    home.end().await;
}

#[tokio::test]
async fn debian_packages_are_installed_with_their_scripts() {
    let home = Home::new().await;
    let made = tempfile::tempdir().unwrap();
    let root = made.path().join("told");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("etc/told")).unwrap();
    fs::write(root.join("DEBIAN/control"), "Package: told\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@test>\nDescription: t\n")
        .unwrap();
    fs::write(root.join("DEBIAN/conffiles"), "/etc/told/conf\n").unwrap();
    fs::write(root.join("DEBIAN/postinst"), "#!/bin/sh\nset -e\nid -u > /usr/share/told-by\nchown 12:34 /usr/share/told-by\nupdate-alternatives --install /usr/bin/telling telling /usr/bin/told 10\n").unwrap();
    fs::set_permissions(root.join("DEBIAN/postinst"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(root.join("usr/bin/told"), "#!/bin/sh\ncat /etc/told/conf\n").unwrap();
    fs::set_permissions(root.join("usr/bin/told"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(root.join("etc/told/conf"), "told\n").unwrap();
    let deb = made.path().join("told.deb");
    let built = Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&deb).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (id, connection) = begin(&home, BuildAs::Root).await;
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(fs::read(&deb).unwrap());
    sh(&connection, &format!("echo {encoded} | base64 -d > /home/agent/told.deb && dpkg -i /home/agent/told.deb && dpkg -s told")).await;
    home.sandboxes.keep_layer(&id, KEY, None, Timestamp(1)).await.unwrap();
    let (_, session) = start(&home.sandboxes, &on(KEY)).await.unwrap();
    assert_eq!(sh(&session, "told; telling; cat /usr/share/told-by; awk 'BEGIN { print 1 }'").await, "told\ntold\n0\n1");
    home.end().await;
}

#[test]
fn an_ordinary_user_can_have_packages_but_not_debians() {
    if nix::unistd::geteuid().is_root() {
        return crate::user::as_nobody_else("packages::an_ordinary_user_can_have_packages_but_not_debians", false);
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let home = Home::new().await;
        let (id, life) = home.sandboxes.build_names().unwrap();
        let refused = home.sandboxes.create(&id, &life, &building(BuildAs::Root)).await.unwrap_err().to_string();
        assert!(refused.contains("Debian packages") && refused.contains("run the server as root"), "{refused}");
        build(&home, BuildAs::Agent, &["mkdir /usr/local/lib/made && echo x > /usr/local/lib/made/a"]).await;
        let (_, session) = start(&home.sandboxes, &on(KEY)).await.unwrap();
        assert_eq!(
            sh(&session, "cat /usr/local/lib/made/a; touch /usr/local/lib/made/b 2>/dev/null || echo read-only").await,
            "x\nread-only"
        );
        home.end().await;
    });
}
