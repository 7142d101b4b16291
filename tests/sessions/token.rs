//! A token that all must show who connect.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use vkmps::{Client, ErrorCode, Session};
use vkmps_tests::daemon::{CONFIG, Daemon};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::Adder;
use vkmps_tests::patience::eventually;

/// What a client hears who shows this.
fn connect(daemon: &Daemon, token: Option<&str>) -> Result<Client, ErrorCode> {
    let builder = Client::builder().socket(daemon.socket());
    let builder = match token {
        Some(token) => builder.token(token),
        None => builder,
    };
    builder.connect().map_err(|error| error.code())
}

#[test]
fn who_does_not_show_the_token_gets_nothing() {
    let folder = Folder::new();
    let file = folder.join("token");
    let text = format!("[clients]\ntoken-file = \"{}\"\n", file.display());
    fs::write(folder.join(CONFIG), text).unwrap();
    fs::write(&file, "sesame\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let daemon = Daemon::launch(folder, |_| {});
    eventually("it serves those who know the token", || {
        connect(&daemon, Some("sesame")).is_ok()
    });
    let client = connect(&daemon, Some("sesame")).unwrap();
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    for wrong in [None, Some("sesam"), Some("sesame\n"), Some("Sesame")] {
        let refused = connect(&daemon, wrong).unwrap_err();
        assert_eq!(refused, ErrorCode::PermissionDenied, "{wrong:?}");
    }
    assert_eq!(
        connect(&daemon, Some("")).unwrap_err(),
        ErrorCode::InvalidArgument
    );
    // Sessions are no way round it.
    let session = Session::builder().socket(daemon.socket()).create();
    assert_eq!(session.unwrap_err().code(), ErrorCode::PermissionDenied);
    assert!(!daemon.log().text().contains("sesame"), "it is not logged");
    daemon.log().line(&["connection refused", "wants a token"]);
}
