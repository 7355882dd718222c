//! What a database holds before it is upgraded.

/// Sources and secrets of all providers, in use.
pub(super) const SOURCES: &str = r#"
    select tidings.add_source('ppoppo', 'ppoppo', 'ppoppo-token', '{"endpoint": "https://localhost", "overlap": 5}');
    select tidings.add_source('pushwoosh', 'pushwoosh', 'Bearer pushwoosh-token');
    select tidings.add_source('arpoone', 'arpoone', 'first-token', '{"timezone": "Europe/Lisbon"}');
    select tidings.rotate_secret('arpoone', 'arpoone-token');
    select tidings.add_source('pushpushgo', 'pushpushgo', null, '{"url_token": "ppg-token"}');
    select tidings.add_source('off', 'arpoone', 'token');
    select tidings.set_source_enabled('off', false);
"#;

/// Events of all of them, duplicates among them, and what is rejected.
pub(super) const EVENTS: &str = r#"
    do $$
    begin
      perform tidings.ingest('ppoppo', convert_to(format('[
          {"event_id": "01JABCDEF000000000000%1$s01", "send_request_id": "q%1$s", "event_type": "RECIPIENT_PENDING_CONSENT",
           "recipient": {"ppnum": "12300000001"}, "occurred_at": "2024-10-19T10:00:00Z"},
          {"event_id": "01JABCDEF000000000000%1$s02", "send_request_id": "q%1$s", "event_type": "CONSENT_GRANTED",
           "recipient": {"ppnum": "12300000001"}, "occurred_at": "2024-10-19T10:00:01Z"},
          {"event_id": "01JABCDEF000000000000%1$s03", "send_request_id": "q%1$s", "event_type": "RECIPIENT_DELIVERED",
           "recipient": {"ppnum": "12300000001"}, "occurred_at": "2024-10-19T10:00:02Z"},
          {"event_id": "01JABCDEF000000000000%1$s04", "send_request_id": "q%1$s", "event_type": "RECIPIENT_FAILED",
           "recipient": {"ppnum": "12300000002", "message_id": "m", "error_code": "E1"}, "occurred_at": "2024-10-19T10:00:02Z"},
          {"event_id": "01JABCDEF000000000000%1$s05", "send_request_id": "q%1$s", "event_type": "REQUEST_COMPLETED",
           "summary": {"delivered": 2, "failed": 1}, "occurred_at": "2024-10-19T10:00:03Z"},
          {"event_type": "CONSENT_GRANTED"}]', n), 'UTF8'))
        from generate_series(100, 199) n;
      -- By the contract. A version before 0.5.0 knows less of it.
      perform tidings.ingest('ppoppo', convert_to(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
          'event_id', format('01JABCDEG000000000000%s%s', n, lpad(k::text, 2, '0')),
          'send_request_id', format('c%s', n + request), 'event_type', 'SEND_REQUEST_EVENT_TYPE_' || event,
          'occurred_at', '2024-10-20T10:00:00Z'::timestamptz + second * interval '1 s',
          'recipient', case when recipient is not null then jsonb_build_object(
            'ppnum', format('12300000%s%s', n, recipient), 'created_at', '2024-10-20T09:00:00Z'::timestamptz + request * interval '1 min', 'error_code', code) end,
          'summary', case when event like 'REQUEST%' then '{"total_recipients": 9, "delivered": 1, "pending_consent": 2}'::jsonb end))
          order by k)::text, 'UTF8'))
        from generate_series(200, 290, 10) n, (values
          (1, 0, 'RECIPIENT_PENDING_CONSENT', 1, 1, null), (2, 0, 'RECIPIENT_DELIVERED', 1, 9, null),
          (3, 0, 'RECIPIENT_FAILED', 2, 8, 'consent_denied'), (4, 0, 'RECIPIENT_PENDING_CONSENT', 2, 2, null),
          (5, 0, 'RECIPIENT_PENDING_CONSENT', 3, 2, null), (6, 0, 'RECIPIENT_FAILED', 3, 7, 'consent_expired'),
          (7, 0, 'RECIPIENT_FAILED', 4, 7, 'unreachable'), (8, 0, 'REQUEST_FAILED', null, 5, null),
          (9, 1, 'RECIPIENT_PENDING_CONSENT', 3, 4, null), (10, 1, 'REQUEST_COMPLETED', null, 6, null),
          (11, 1, 'RECIPIENT_DELIVERED', 5, 6, null), (12, 1, 'POLL_RESPONSE_RECEIVED', 5, 7, null),
          (13, 1, 'RECIPIENT_PENDING_CONSENT', 6, 6, null)) v (k, request, event, recipient, second, code)
        group by n;
      perform tidings.ingest('arpoone', convert_to(format('[
          {"MessageId": "s%1$s", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:58", "Msisdn": "351913462111"},
          {"MessageId": "s%1$s", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:59", "Msisdn": "351913462111"},
          {"MessageId": "s%1$s", "Status": "NOT_DELIVERED", "ReportDateTime": "2024-10-01T11:34:58", "Msisdn": "351913462111"}]',
          n % 75), 'UTF8'), '{"url-token": "arpoone-token"}')
        from generate_series(1, 100) n;
      perform tidings.ingest('pushwoosh', convert_to(format('[
          {"event_name": "message_opened", "timestamp": 1727782496, "message_code": "p%1$s", "hwid": "h"},
          {"event_name": "message_opened", "timestamp": 1727782496, "message_code": "p%1$s", "hwid": "h"},
          {"event_name": "message_clicked", "timestamp": 1727782497, "message_code": "p%1$s", "hwid": "h", "campaign_id": 9}]',
          n), 'UTF8'), '{"authorization": "Bearer pushwoosh-token"}')
        from generate_series(1, 100) n;
      perform tidings.ingest('pushpushgo', convert_to(format(
          '{"kind": "subscriber:%s", "ppgId": "g%s", "customId": "c%s"}',
          (array['subscribe', 'update', 'unsubscribe'])[1 + n % 3], n % 10, n % 7), 'UTF8'),
          jsonb_build_object('url-token', 'ppg-token', 'receipt-id', tidings.ulid_at('2024-10-01'::timestamptz + n * interval '1 s')))
        from generate_series(1, 100) n;
      perform tidings.ingest('pushwoosh', '{', '{"authorization": "Bearer pushwoosh-token"}'), tidings.ingest('arpoone', '[]');
    end $$;
"#;

/// What the library of 0.4.0 made of them, where this one knows better.
pub(super) const AS_BEFORE: &str = "
    do $$
    begin
      update tidings.event set kind = 'other' where kind = 'request.failed';
      update tidings.event set kind = 'message.failed'
      where kind in ('consent.denied', 'consent.expired') and provider_kind like '%RECIPIENT_FAILED';
      if to_regprocedure('tidings.rebuild_state()') is not null then
        perform tidings.rebuild_state();
      end if;
    end $$;
";
