//! Tests of the private cluster, each with a real Postgres of its own.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

/// A folder that also the user Postgres runs as may enter, should we be root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

async fn ask(cluster: &Cluster, question: &'static str) -> String {
    let mut connection = PgConnection::connect(cluster.url()).await.unwrap();
    let answer = sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

async fn tell(cluster: &Cluster, statement: &'static str) {
    let mut connection = PgConnection::connect(cluster.url()).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Kills the server as a power cut would, and waits until it is gone.
async fn kill(cluster: &Cluster) -> u32 {
    let pid = cluster.server().unwrap();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    while cluster.server().is_some() {
        sleep(PAUSE).await;
    }
    pid
}

#[tokio::test]
async fn starts_answers_stops_and_remembers() {
    let folder = folder();
    let cluster = Cluster::start(folder.path(), None).await.unwrap();
    assert_eq!(ask(&cluster, "select current_database()::text").await, "driftline");
    assert_eq!(ask(&cluster, "show listen_addresses").await, "", "no TCP");
    assert_eq!(ask(&cluster, "show server_encoding").await, "UTF8");
    tell(&cluster, "create table kept as select 'yes'::text as answer").await;
    let place = cluster.place.clone();
    for private in [&place.home, &place.socket, &place.data] {
        assert_eq!(fs::metadata(private).unwrap().mode() & 0o777, 0o700, "{}", private.display());
    }
    assert!(!place.home.join("data.new").exists());
    cluster.stop().await.unwrap();
    assert!(!place.data.join("postmaster.pid").exists());

    let again = Cluster::start(folder.path(), None).await.unwrap();
    assert_eq!(ask(&again, "select answer from kept").await, "yes");
    again.stop().await.unwrap();
}

#[tokio::test]
async fn survives_a_server_that_was_killed() {
    let folder = folder();
    let cluster = Cluster::start(folder.path(), None).await.unwrap();
    tell(&cluster, "create table kept as select 'yes'::text as answer").await;
    kill(&cluster).await;
    let note = cluster.place.data.join("postmaster.pid");
    assert!(note.exists(), "a killed server leaves its note behind");
    // As after a restart of the machine, when the number belongs to somebody else.
    let text = fs::read_to_string(&note).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&note, format!("{}\n{rest}", std::process::id())).unwrap();
    let again = Cluster::start(folder.path(), None).await.unwrap();
    assert_eq!(ask(&again, "select answer from kept").await, "yes");
    again.stop().await.unwrap();
    cluster.stop().await.expect("what is stopped already counts as stopped");
}

#[tokio::test]
async fn the_last_user_stops_it() {
    let folder = folder();
    let (first, second) =
        tokio::join!(Cluster::start(folder.path(), None), Cluster::start(folder.path(), None));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.url(), second.url());
    first.stop().await.unwrap();
    assert_eq!(ask(&second, "select 'still here'::text").await, "still here");
    let (data, server) = (second.place.data.clone(), second.server());
    assert!(server.is_some());
    drop(second);
    let patience = Instant::now() + PATIENCE;
    while data.join("postmaster.pid").exists() {
        assert!(Instant::now() < patience, "dropping the last share stops the server");
        sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn goes_on_with_a_server_whose_owner_crashed() {
    let folder = folder();
    let mut crashed = Cluster::start(folder.path(), None).await.unwrap();
    let pid = crashed.server().unwrap();
    // What the kernel does for a process that is gone: the lock is free, nobody stopped the server.
    drop(crashed.share.take());
    drop(crashed);
    let next = Cluster::start(folder.path(), None).await.unwrap();
    assert_eq!(next.server(), Some(pid));
    next.stop().await.unwrap();
    // A process that has ended but was not waited for has an empty command line.
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(line.is_empty(), "still running");
}

#[tokio::test]
async fn copes_with_long_and_odd_paths() {
    let folder = folder();
    let odd = folder.path().join("a b, c's (d) %41 é&;#");
    let cluster = Cluster::start(&odd, None).await.unwrap();
    assert!(cluster.place.socket.starts_with(fs::canonicalize(&odd).unwrap()));
    assert_eq!(ask(&cluster, "select 'hello'::text").await, "hello");
    cluster.stop().await.unwrap();

    let long = folder.path().join("a-folder-with-a-rather-long-name".repeat(4));
    let cluster = Cluster::start(&long, None).await.unwrap();
    let socket = cluster.place.socket.clone();
    assert!(!socket.starts_with(folder.path()), "{}", socket.display());
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
    assert_eq!(ask(&cluster, "select 'hello'::text").await, "hello");
    cluster.stop().await.unwrap();
    fs::remove_dir_all(socket).unwrap();
}

#[tokio::test]
async fn root_keeps_it_where_the_server_can_go() {
    let Some(user) = ServerUser::needed().unwrap() else {
        return; // Only root has this problem.
    };
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(user.stopped_at(closed.path()), Some(closed.path()));
    let cluster = Cluster::start(closed.path(), None).await.unwrap();
    let home = cluster.place.home.clone();
    assert!(home.starts_with("/var/lib/driftline"), "{}", home.display());
    assert_eq!(fs::metadata(&home).unwrap().uid(), user.uid);
    assert_eq!(ask(&cluster, "select 'hello'::text").await, "hello");
    cluster.stop().await.unwrap();
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn clears_what_an_interrupted_start_left() {
    let folder = folder();
    let user = ServerUser::needed().unwrap();
    let place = Place::prepare(folder.path(), user.as_ref()).unwrap();
    fs::create_dir(place.home.join("data.new")).unwrap();
    fs::write(place.home.join("data.new/half"), "made").unwrap();
    let cluster = Cluster::start(folder.path(), None).await.unwrap();
    assert_eq!(ask(&cluster, "select 'hello'::text").await, "hello");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn explains_what_it_cannot_use() {
    let folder = folder();
    let user = ServerUser::needed().unwrap();
    let place = Place::prepare(folder.path(), user.as_ref()).unwrap();

    let error = Cluster::start(folder.path(), Some(Path::new("/nowhere"))).await.unwrap_err().to_string();
    assert!(error.contains("none at all") && error.contains("hint: "), "{error}");

    fs::create_dir(&place.data).unwrap();
    let error = Cluster::start(folder.path(), None).await.unwrap_err().to_string();
    assert!(error.contains("holds no PostgreSQL data"), "{error}");

    fs::write(place.data.join("PG_VERSION"), "9\n").unwrap();
    let error = Cluster::start(folder.path(), None).await.unwrap_err().to_string();
    assert!(error.contains("of PostgreSQL 9") && error.contains("hint: "), "{error}");

    for shell in ["$(touch x)", "a\"b", "a\nb", "a`b", "a\\b"] {
        let error = Cluster::start(&folder.path().join(shell), None).await.unwrap_err();
        assert!(matches!(error, ClusterError::Path(_)), "{shell}: {error}");
    }

    let link = folder.path().join("linked");
    fs::create_dir(&link).unwrap();
    symlink("/tmp", link.join("postgres")).unwrap();
    let error = Cluster::start(&link, None).await.unwrap_err().to_string();
    assert!(error.contains("not safe"), "{error}");
}
