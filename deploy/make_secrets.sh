#!/bin/sh
# Writes the secrets of docker-compose.yml, and of deploy/kubernetes, to ./secrets; what is there stays.
# Usage: deploy/make_secrets.sh [ADDRESS]   ADDRESS is the host and port of Redis, by default redis:6379
set -eu
address=${1:-redis:6379}
rights='~*tawsiya_* resetchannels -@all +@connection +get +set +del +unlink +exists +type +expire +expireat +hget +hset
 +hdel +hmget +hgetall +scan +eval +time +pexpire +pttl +command +cluster|slots +cluster|shards +info +config|get +bgsave
 +bgrewriteaof'

# Containers run as users of their own, so the files must be readable for all; only the folder keeps others out.
umask 077
mkdir -p secrets
umask 022

write() {
    [ -e "secrets/$1" ] || cat > "secrets/$1"
}

if [ -e secrets/redis_acl ] && [ -e secrets/redis_address ]; then
    echo "secrets/redis_acl and secrets/redis_address are there already"
else
    password=$(openssl rand -hex 24)
    rm -f secrets/redis_acl secrets/redis_address
    echo "$rights" | tr -d '\n' | { printf 'user default off\nuser tawsiya on >%s ' "$password"; cat; echo; } |
        write redis_acl
    echo "$address,username=tawsiya,password=$password" | write redis_address
fi
openssl rand -hex 32 | write buyer_token_secrets
openssl rand -hex 32 | write log_salt
openssl rand -hex 16 | write grafana_password
# Prometheus needs the file to start; docs/deployment.md says how the key gets into it.
: | write metrics_key
