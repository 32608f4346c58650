-- What wrk counted, for a program to read. Without a function for requests or responses, wrk sends the
-- same bytes again and again and looks at no body.
done = function(summary, latency)
   local failed = summary.errors
   io.write(string.format(
      '\nJSON {"requests": %d, "bytes": %d, "us": %d, "failed": %d, "p50": %.1f, "p99": %.1f}\n',
      summary.requests, summary.bytes, summary.duration,
      failed.connect + failed.read + failed.write + failed.timeout + failed.status,
      latency:percentile(50), latency:percentile(99)))
end
