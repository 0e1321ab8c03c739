#!/bin/sh
# Make what compose.yaml takes its secrets from: `sh deploy/make-secrets.sh`. What is there already stays as it is.
# The folder is closed to everybody else on this machine. The files in it are readable, because compose hands each one
# over with the rights that it has here, and the services run under numbers that own nothing on this machine.
set -eu
command -v openssl > /dev/null || { echo "openssl is needed: apt-get install openssl" >&2; exit 1; }
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

keep() { # keep NAME: what stands on standard input, unless there is one
  if [ -s "$1" ]; then cat > /dev/null; else cat > ".$1"; chmod 444 ".$1"; mv ".$1" "$1"; fi
}

for name in postgres collect schedule serve mqtt grafana; do
  openssl rand -hex 24 | tr -d '\n' | keep "$name-password"
done
openssl genpkey -algorithm ed25519 | keep evidence-key.pem

printf 'postgresql://postgres:%s@timescaledb:5432/jcm_mrv' "$(cat postgres-password)" | keep owner-database-url
for name in collect schedule serve; do
  printf 'postgresql://jcm_mrv_%s:%s@timescaledb:5432/jcm_mrv' "$name" "$(cat "$name-password")" | keep "$name-database-url"
done
printf 'mqtt://collector:%s@mosquitto:1883' "$(cat mqtt-password)" | keep collect-mqtt-url
