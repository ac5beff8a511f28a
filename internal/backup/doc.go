// Package backup writes an installation into one file and makes an installation of one: the database, the master key
// without which its personal data is noise, and the stored files. The file is a tar:
//
//	manifest.json   format, version, schema, when, and the SHA-256 of the dump
//	master.key      hexadecimal
//	database.dump   pg_dump, custom format, one snapshot
//	blobs/…         files, taken after the snapshot; files are never changed, so none that a row names is missing
//
// Whoever holds the file holds everything: it is written with mode 0600 and belongs under lock or encryption.
//
// Write makes FILE.part and renames it when complete. Read checks the manifest and the dump before it changes anything,
// refuses a place that is not empty unless told otherwise, keeps a master key that it replaces, and loads the database in
// one transaction: killed in the middle it leaves an empty database and can be run again with force.
//
// pg_dump and pg_restore are taken from the machine; they must not be older than the server or the dump.
package backup
