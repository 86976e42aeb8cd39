{application, demo, [
  {description, "a sample"}, {vsn, "1.0.0"}, {modules, [demo_sup, demo]},
  {registered, []}, {applications, [kernel, stdlib, ranch]}, {included_applications, [x]},
  {mod, {demo_app, [{'é', <<"binary">>}]}}, {start_phases, [{go, []}]}, {env, [{b, 2}, {a, #{k => 1.5}}]}
]}.
