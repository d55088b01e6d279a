<?php
header('Content-Type: text/plain');
echo "visitor {$_SERVER['REMOTE_ADDR']} by {$_SERVER['REQUEST_SCHEME']}, {$_SERVER['HTTP_X_FORWARDED_PROTO']}\n";
