# Sourced by the scripts here: where things are cached, and how an initramfs is packed.
# shellcheck shell=bash

testbed=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# All that is downloaded or built goes here. It may be deleted at any time.
cache=${AERATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/aerate}

die() {
  echo "${0##*/}: $*" >&2
  exit 125
}

# The comment at the head of the script that sources this.
usage() {
  awk 'NR > 1 { if (!/^#/ || /shellcheck/) exit; sub(/^# ?/, ""); print }' "$0"
  exit 0
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is missing; scripts/setup --testbed installs it"
  done
}

# kernel_dir VERSION: the directory of a stock kernel, downloaded at first use.
kernel_dir() {
  [[ -e $cache/kernels/$1/version ]] || "$testbed/kernels" "$1" >&2 || exit 125
  echo "$cache/kernels/$1"
}

# build_once OUT FUNCTION INPUT...: OUT is made by `FUNCTION TEMPORARY` unless it stands and was made from the very same
# inputs. Compares contents, not dates: two checkouts may share the cache. Safe when several run at once.
build_once() {
  local out=$1 make=$2 key
  shift 2
  key=$(cat -- "$@" | sha256sum)
  mkdir -p "$(dirname "$out")"
  {
    flock 9
    if [[ ! -e $out || $(cat "$out.key" 2>/dev/null) != "$key" ]]; then
      "$make" "$out.new"
      mv "$out.new" "$out"
      echo "$key" >"$out.key"
    fi
  } 9>"$out.lock"
}

# start_rootfs DIR: the busybox part that every initramfs has.
start_rootfs() {
  local applet
  mkdir -p "$1"/{bin,dev,etc,proc,root,sys,tmp,modules}
  cp "$(command -v busybox)" "$1/bin/busybox"
  # Links made here cost the emulated machine less than `busybox --install` at each boot.
  for applet in $(busybox --list); do
    [[ $applet == busybox ]] || ln -s busybox "$1/bin/$applet"
  done
  ln -s bin "$1/sbin"
}

# add_modules DIR KERNEL_DIR NAME...: modules and what they depend on, as plain .ko files, and /modules/order to load them.
# A module that this kernel has built in, or lacks, is left out.
add_modules() {
  local dir=$1 kernel=$2 name verb path file
  shift 2
  for name in "$@"; do
    while read -r verb path _; do
      [[ $verb == insmod ]] || continue
      file=${path##*/}
      file=${file%.xz}
      [[ ! -e $dir/modules/$file ]] || continue
      case $path in
        *.xz) xz -dc "$path" >"$dir/modules/$file" ;; # the kernel would have to do it in emulation
        *) cp "$path" "$dir/modules/$file" ;;
      esac
      echo "$file" >>"$dir/modules/order"
    done < <(/sbin/modprobe -d "$kernel" -S "$(<"$kernel/version")" --show-depends "$name" 2>/dev/null)
  done
}

# pack DIR OUT: an uncompressed newc archive; unpacking a compressed one would cost time in emulation.
pack() {
  (cd "$1" && find . -mindepth 1 | cpio -o -H newc -R 0:0 --quiet) >"$2"
}
