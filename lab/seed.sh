# Inside the new root, without a network: a fresh data directory, one bootstrapped and cleanly stopped node, the client's account.
rm -rf /var/lib/mysql/* /var/log/mysql/*
mariadb-install-db --user=mysql --datadir=/var/lib/mysql --skip-test-db >/tmp/seed.log 2>&1 || { cat /tmp/seed.log; exit 1; }
install -d -o mysql -g mysql /run/mysqld
runuser -u mysql -- mariadbd --wsrep-new-cluster --wsrep-node-address=127.0.0.1 --wsrep-cluster-address=gcomm:// >/tmp/seed.log 2>&1 &
server=$!
tries=0
until mariadb-admin --silent ping >/dev/null 2>&1; do
  tries=$((tries + 1)); [ $tries -lt 100 ] || { cat /tmp/seed.log; exit 1; }
  sleep 0.2
done
mariadb -e "CREATE USER lab@'%' IDENTIFIED BY 'lab'; GRANT ALL ON *.* TO lab@'%' WITH GRANT OPTION; CREATE DATABASE lab;
            CREATE TABLE lab.t (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(64)) ENGINE=InnoDB"
mariadb-admin shutdown
wait $server || { cat /tmp/seed.log; exit 1; }
rm -f /var/lib/mysql/galera.cache /var/lib/mysql/ib_buffer_pool /tmp/seed.log
rm -rf /run/mysqld
cat /var/lib/mysql/grastate.dat
grep -q '^seqno: *[0-9]' /var/lib/mysql/grastate.dat
