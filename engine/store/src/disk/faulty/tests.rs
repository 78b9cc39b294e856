//! What survives on a faulty disk, and what fails.

use std::io;
use std::path::Path;

use super::{Fault, FaultyDisk};
use crate::disk::{Access, Disk, Space};

fn write(disk: &FaultyDisk, path: &str, bytes: &[u8], sync: bool) {
    let mut file = disk.create(Path::new(path)).unwrap();
    file.write_at(0, bytes).unwrap();
    if sync {
        file.sync_all().unwrap();
    }
}

#[test]
fn synced_contents_with_a_synced_name_always_survive_and_others_sometimes_do_not() {
    let mut lost_name = 0;
    let mut torn = 0;
    for seed in 0..64 {
        let disk = FaultyDisk::new();
        disk.create_directories(Path::new("/lake/wal")).unwrap();
        write(&disk, "/lake/wal/kept", &[7; 300], true);
        disk.sync_directory(Path::new("/lake/wal")).unwrap();
        write(&disk, "/lake/wal/name", &[8; 300], true);
        let mut kept = disk.open(Path::new("/lake/wal/kept"), Access::ReadWrite).unwrap();
        kept.write_at(300, &[9; 300]).unwrap();
        disk.crash(seed);
        let bytes = disk.bytes(Path::new("/lake/wal/kept")).unwrap();
        assert_eq!(bytes[..300], [7; 300]);
        torn += usize::from(bytes.len() != 300 && bytes[300..] != [9; 300]);
        lost_name += usize::from(disk.bytes(Path::new("/lake/wal/name")).is_none());
    }
    assert!((10..60).contains(&lost_name), "{lost_name}");
    assert!((10..60).contains(&torn), "{torn}");
}

#[test]
fn what_a_failed_sync_left_behind_is_never_made_durable_by_a_later_one() {
    let disk = FaultyDisk::new();
    write(&disk, "file", &[1; 64], true);
    disk.sync_directory(Path::new(".")).unwrap();
    let mut file = disk.open(Path::new("file"), Access::ReadWrite).unwrap();
    file.write_at(0, &[2; 64]).unwrap();
    disk.fail_at(disk.operations(), Fault::Error);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.bytes(Path::new("file")).unwrap(), [2; 64]);
    disk.crash(3);
    assert_eq!(disk.bytes(Path::new("file")).unwrap(), [1; 64]);
}

#[test]
fn a_full_disk_says_so_and_power_stays_off() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(100));
    let mut file = disk.create(Path::new("file")).unwrap();
    assert_eq!(file.preallocate(101).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.preallocate(100).unwrap();
    assert_eq!(disk.space(Path::new(".")).unwrap(), Space { free: 0, total: 100 });
    disk.fail_at(disk.operations(), Fault::PowerCut);
    assert!(file.sync_data().is_err());
    assert!(file.length().is_err());
    disk.crash(0);
    assert!(disk.list(Path::new(".")).is_ok());
}

#[test]
fn links_share_their_file_and_a_folder_moves_with_all_in_it() {
    let disk = FaultyDisk::new();
    let path = Path::new;
    disk.create_directories(path("/lake/tables")).unwrap();
    write(&disk, "/lake/tables/one", b"one", true);
    disk.hard_link(path("/lake/tables/one"), path("/lake/tables/two")).unwrap();
    assert_eq!(disk.used(), 3);
    let taken = disk.hard_link(path("/lake/tables/one"), path("/lake/tables/two")).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    disk.sync_directory(path("/lake/tables")).unwrap();
    disk.rename(path("/lake"), path("/moved")).unwrap();
    let names: Vec<String> =
        disk.entries(path("/moved/tables")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["one", "two"]);
    disk.crash_to_synced();
    assert_eq!(disk.bytes(path("/lake/tables/two")).unwrap(), b"one");
    disk.rename(path("/lake"), path("/moved")).unwrap();
    disk.sync_directory(path("/")).unwrap();
    disk.crash_to_synced();
    assert_eq!(disk.files(), [path("/moved/tables/one"), path("/moved/tables/two")]);
    let full = disk.remove_directory(path("/moved")).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
}

#[test]
fn a_dead_process_can_do_nothing_and_a_killed_one_leaves_its_bytes_unsynced() {
    let disk = FaultyDisk::new();
    disk.create_directories(Path::new("/lake")).unwrap();
    let process = disk.process();
    let mut file = process.create(Path::new("/lake/file")).unwrap();
    file.write_at(0, b"some bytes").unwrap();
    let lock = process.lock(Path::new("/lake/lock")).unwrap();
    disk.fail_at(disk.operations(), Fault::PowerCut);
    assert!(file.sync_all().is_err() && disk.is_off());
    disk.kill();
    assert!(file.write_at(0, b"other").is_err());
    assert!(process.list(Path::new("/lake")).is_err());
    let next = disk.process();
    drop(next.lock(Path::new("/lake/lock")).unwrap());
    drop(lock);
    assert_eq!(next.list(Path::new("/lake")).unwrap(), ["file", "lock"]);
    assert_eq!(disk.bytes(Path::new("/lake/file")).unwrap(), b"some bytes");
    disk.crash_to_synced();
    assert!(disk.files().is_empty());
}

#[test]
fn reads_fail_where_they_shall() {
    let disk = FaultyDisk::new();
    write(&disk, "file", b"bytes", true);
    disk.fail_read_at(disk.reads() + 1);
    let file = disk.open(Path::new("file"), Access::Read).unwrap();
    assert!(file.read_at(0, &mut [0; 5]).is_err());
    assert_eq!(file.read_at(0, &mut [0; 5]).unwrap(), 5);
    assert_eq!((disk.failures(), disk.failed_syncs()), (1, 0));
}
