#!/bin/bash
# A Ceph of one node with its S3 gateway, on the loopback, for tests: its objects are in memory.
#   ceph.sh DIR up PORT      ready when it returns; the user has the keys anybody, anything
#   ceph.sh DIR down
# Debian: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-mgr ceph-common
set -euo pipefail

dir=$1
export CEPH_CONF=$dir/ceph.conf

down() {
    for file in "$dir"/*.pid; do
        [ -e "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
}

configure() {
    cat > "$CEPH_CONF" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$(($1 + 1)),v1:127.0.0.1:$(($1 + 2))]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = $(($1 + 10))
ms bind port max = $(($1 + 60))
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = $dir
crash dir = $dir
keyring = $dir/keyring
pid file = $dir/\$name.pid
log file = $dir/\$name.log
admin socket = $dir/\$name.\$pid.asok
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
[mon.a]
mon data = $dir/mon
[mgr.x]
mgr data = $dir/mgr
[osd.0]
osd data = $dir/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$1
rgw dns name = localhost
END
}

make_keys() {
    ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *'
    local all=(--cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *')
    local own=(--cap mon 'allow profile mgr' --cap osd 'allow *' --cap mds 'allow *')
    ceph-authtool "$dir/keyring" --gen-key -n client.admin "${all[@]}"
    ceph-authtool "$dir/keyring" --gen-key -n client.rgw "${all[@]}"
    ceph-authtool "$dir/keyring" --gen-key -n mgr.x "${own[@]}"
    own=(--cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow profile osd')
    ceph-authtool "$dir/keyring" --gen-key -n osd.0 "${own[@]}"
}

up() {
    mkdir -p "$dir"/{mon,mgr,osd}
    configure "$1"
    make_keys
    local fsid id
    fsid=$(awk '/^fsid/ { print $3 }' "$CEPH_CONF")
    monmaptool --create --fsid "$fsid" --addv a \
        "[v2:127.0.0.1:$(($1 + 1)),v1:127.0.0.1:$(($1 + 2))]" "$dir/monmap"
    ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
    ceph-mon -i a
    ceph-mgr -i x
    id=$(cat /proc/sys/kernel/random/uuid)
    ceph osd new "$id" 0
    ceph-osd -i 0 --mkfs --osd-uuid "$id"
    ceph osd crush add osd.0 1.0 "host=$(hostname)" root=default
    ceph-osd -i 0
    radosgw -n client.rgw
    for _ in $(seq 300); do
        (exec 3<> "/dev/tcp/127.0.0.1/$1") 2>/dev/null && break
        sleep 0.2
    done
    radosgw-admin -n client.admin user create --uid=tests --display-name=tests \
        --access-key=anybody --secret-key=anything
}

if [ "$2" = down ]; then down; else up "$3"; fi
