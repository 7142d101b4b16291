//! A bus of our own, with somebody on it who plays polkit.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use vkmps_tests::folder::Folder;
use zbus::{OwnedVariant, interface};

/// It ends with its test.
pub(crate) struct Bus {
    daemon: Child,
    polkit: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    pub(crate) address: String,
    _folder: Folder,
}

impl Bus {
    /// polkit allows everything but this.
    pub(crate) fn start(denied: &'static str) -> Self {
        let folder = Folder::new();
        let configuration = folder.join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><policy context=\"default\">\
             <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
             </policy></busconfig>",
            folder.join("bus").display()
        );
        std::fs::write(&configuration, text).expect("the folder is ours");
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--print-address"])
            .arg(format!("--config-file={}", configuration.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is in the package dbus-daemon");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().expect("it is piped"))
            .read_line(&mut address)
            .expect("it prints its address");
        let address = address.trim().to_owned();
        let polkit = Some(serve_polkit(address.clone(), denied));
        Self {
            daemon,
            polkit,
            address,
            _folder: folder,
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.polkit.take() {
            drop(stop);
            let _ = thread.join();
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn serve_polkit(address: String, denied: &'static str) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, is_ready) = channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let connection = zbus::connection::Builder::address(address.as_str())
                .serve_at("/org/freedesktop/PolicyKit1/Authority", Polkit { denied })
                .name("org.freedesktop.PolicyKit1")
                .build();
            let _connection = connection.await.expect("the bus is ours");
            ready.send(()).expect("the test waits");
            let _ = stopped.await;
        });
    });
    is_ready.recv().expect("polkit is on the bus");
    (stop, thread)
}

struct Polkit {
    denied: &'static str,
}

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Polkit {
    async fn check_authorization(
        &self,
        _subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        _details: HashMap<String, String>,
        _flags: u32,
        _cancellation: String,
    ) -> (bool, bool, HashMap<String, String>) {
        (action != self.denied, false, HashMap::new())
    }

    async fn cancel_check_authorization(&self, _cancellation: String) {}
}
