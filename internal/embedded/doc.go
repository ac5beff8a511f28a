// Package embedded runs a private PostgreSQL and a private redis-server under a data directory, from the binaries the
// machine has, so that lianke needs no server set up beforehand. It never touches a cluster of the system.
//
//	DIR/gate.lock     held exclusively while somebody looks, starts or stops: one at a time
//	DIR/users.lock    held shared by every process that uses the stack
//	DIR/initdb.lock   held by an initdb and its children while they live, also when whoever started them is gone
//	DIR/postgres      the cluster, owned by the user PostgreSQL runs as
//	DIR/redis         redis.conf; nothing is kept, Redis holds hints only
//	DIR/log           what the servers print
//	DIR/run           the sockets; or a directory under /tmp where DIR is too long for a socket's name
//
// # Who starts and who stops
//
//	Open:   gate → what runs is joined, what does not is started → users.lock shared → gate released
//	Close:  gate → users.lock exclusive, without waiting → got it: nobody is left, stop both → gate released
//
// The kernel drops the locks of a process that dies, so no count can go wrong. The servers are in a session of their own
// and outlive whoever started them: after a kill -9 of lianke the next Open joins them and the last Close stops them.
// A kill between any two steps leaves one of these states, and Open mends each:
//
//	initdb half done        it works in a directory of its own name, which is renamed when complete; an orphan is waited
//	                        for, its leftovers are removed
//	servers run, no user    joined
//	one of two runs         the other one is started
//	postmaster starting     waited for; also while it recovers after a crash
//	postmaster stopping     waited for, then started
//	stale postmaster.pid    PostgreSQL removes it; where its pid belongs to another program by now, Open removes it after
//	                        making sure that no process of the old postmaster is left
//
// A process belongs to the stack when its command line bears the stack's mark (a hash of DIR) and its name is that of the
// server; a pid alone proves nothing.
//
// # Rights
//
// PostgreSQL refuses to run as root. As root it runs as user postgres, redis-server as user redis, each as nobody where
// that user is missing; ownership of their directories is set before each start. There is no TCP port: the sockets lie in
// a directory only that user and root can enter.
//
// # Versions
//
// A cluster is opened only by binaries of the major version that made it. With others Open refuses and says which steps
// upgrade it. Without redis-server the stack works, slower: Redis URL is then empty.
package embedded
