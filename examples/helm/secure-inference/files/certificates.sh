# Keeps $CERTIFICATES as $GIVEN is, a secret's volume, with files that their owner alone may read. Each appears whole.
umask 077
while :; do
  (cd "$GIVEN" && find -L . -name '..*' -prune -o -type f -print) | while read -r file; do
    cmp -s "$GIVEN/$file" "$CERTIFICATES/$file" && continue
    mkdir -p "$CERTIFICATES/$(dirname "$file")"
    cat "$GIVEN/$file" > "$CERTIFICATES/.writing"
    mv "$CERTIFICATES/.writing" "$CERTIFICATES/$file"
  done
  (cd "$CERTIFICATES" && find . -type f -print) | while read -r file; do
    test -e "$GIVEN/$file" || rm "$CERTIFICATES/$file"
  done
  sleep 5
done
