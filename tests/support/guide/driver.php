<?php // Runs the guide's PHP: driver.php KEY ID TIMESTAMP SIGNATURES <body

require 'snippet.php';

[, $key, $id, $timestamp, $signatures] = $argv;
$headers = ['webhook-id' => $id, 'webhook-timestamp' => $timestamp, 'webhook-signature' => $signatures];
try {
    verify($headers, stream_get_contents(STDIN), $key);
} catch (RuntimeException $error) {
    echo $error->getMessage(), "\n";
    exit(1);
}
