//! A balancer, `HAProxy`, before several sidecars, as a Service of Kubernetes is: it asks each for `/readyz`, and sends
//! requests to those that are ready. It repeats nothing.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
};

use crate::{sidecar::until, world::World};

/// The ports of a sidecar, and of the balancer: outbound, ingress, admin.
pub(crate) const PORTS: [u16; 3] = [7420, 7421, 7422];

/// It is killed when dropped.
pub(crate) struct Balancer {
    /// `http://…` for apps.
    pub(crate) outbound: String,
    /// `http://…` for providers.
    pub(crate) ingress: String,
    control: PathBuf,
    _running: Child,
}

// === impl Balancer ===

impl Balancer {
    /// Starts it at `host`, before `places`, where sidecars come and go.
    pub(crate) fn start(world: &World, host: &str, places: &[String]) -> Self {
        let (config, control) = (world.path("haproxy.cfg"), world.path("haproxy.sock"));
        let [outbound, ingress, admin] = PORTS;
        let group = |name: &str, port: u16| {
            let mut text = format!("listen {name}\n  bind {host}:{port}\n");
            text += "  option httpchk GET /readyz\n  http-check expect status 200\n";
            for (nth, place) in places.iter().enumerate() {
                text += &format!("  server place{nth} {place}:{port} check port {admin}\n");
            }
            text
        };
        let text = format!(
            "global\n  stats socket {} mode 600 level user\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
             \x20 retries 0\n  http-reuse safe\n\
             \x20 default-server inter 100ms fastinter 100ms downinter 100ms fall 1 rise 1\n{}{}",
            control.display(),
            group("outbound", outbound),
            group("ingress", ingress),
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(world.path("haproxy.log")).unwrap();
        let running = Command::new("/usr/sbin/haproxy")
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        Self {
            outbound: format!("http://{host}:{outbound}"),
            ingress: format!("http://{host}:{ingress}"),
            control,
            // Debian's; ./test installs it.
            _running: running.unwrap(),
        }
    }

    /// Waits until requests are sent to exactly these of the places.
    pub(crate) async fn until_sends_to(&self, places: &[usize]) {
        until("the balancer knows who is ready", async || {
            let statistics = self.ask("show stat").await?;
            let mut up = statistics.lines().filter_map(|line| {
                let cells: Vec<_> = line.split(',').collect();
                let place = cells.get(1)?.strip_prefix("place")?.parse().ok()?;
                (*cells.get(17)? == "UP").then_some(place)
            });
            // In both groups.
            let mut expected = [places, places].concat();
            let mut up: Vec<usize> = up.by_ref().collect();
            expected.sort_unstable();
            up.sort_unstable();
            (up == expected).then_some(())
        })
        .await;
    }

    async fn ask(&self, what: &str) -> Option<String> {
        let mut stream = UnixStream::connect(&self.control).await.ok()?;
        stream
            .write_all(format!("{what}\n").as_bytes())
            .await
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }
}
