<?php
// How many have asked this container: PHP forgets everything between two requests.
$f = fopen('/tmp/count', 'c+');
flock($f, LOCK_EX);
$n = 1 + (int) stream_get_contents($f);
rewind($f);
fwrite($f, (string) $n);
fclose($f);
header('Content-Type: text/plain');
echo "count $n\n";
