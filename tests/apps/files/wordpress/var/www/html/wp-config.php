<?php
// Where the data are is told by the environment (fcnode deploy --env); the keys are made by the entrypoint.
define('DB_HOST', getenv('WORDPRESS_DB_HOST'));
define('DB_NAME', getenv('WORDPRESS_DB_NAME'));
define('DB_USER', getenv('WORDPRESS_DB_USER'));
define('DB_PASSWORD', getenv('WORDPRESS_DB_PASSWORD'));
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
require __DIR__ . '/wp-keys.php';
$table_prefix = 'wp_';
define('FS_METHOD', 'direct');
// The node runs wp-cron.php on time (schedule in the spec); visitors need not.
define('DISABLE_WP_CRON', true);
if (!defined('ABSPATH')) {
	define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
