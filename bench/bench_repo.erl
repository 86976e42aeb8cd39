%%% @doc Repositories of applications, in each format, as large as asked for.
-module(bench_repo).

-export([make/3, files/3, spec/3, name/1, follow/2, remove/1]).

%% @doc `{Dir, CommitBinary}' of a repository of Count specifications of about 700 bytes.
make(Dir, Format, Count) ->
    Repo = bct_repo:init(Dir),
    Commit = bct_repo:commit(Repo, files(Format, Count, 1)),
    {iolist_to_binary(Repo), iolist_to_binary(Commit)}.

files(Format, Count, Revision) ->
    [{"apps/" ++ name(N) ++ "/app." ++ atom_to_list(Format), spec(Format, N, Revision)}
     || N <- lists:seq(1, Count)].

name(N) -> "bench_app_" ++ integer_to_list(N).

spec(Format, N, Revision) ->
    Dependencies = [name(D) || D <- [N - 1, N - 2], D > 0],
    text(Format, name(N), integer_to_list(Revision), Dependencies).

text(config, Name, Revision, Dependencies) ->
    ["#{name => ", Name, ",\n  version => <<\"1.0.", Revision, "\">>,\n"
     "  description => <<\"One of many applications that the benchmark reads\">>,\n"
     "  source => #{type => git, url => <<\"https://git.example.org/apps/", Name, ".git\">>,\n"
     "              ref => <<\"v1.0.", Revision, "\">>},\n"
     "  env => #{http_port => 8080, pool_size => 16, log_level => info,\n"
     "           listeners => [#{ip => <<\"0.0.0.0\">>, port => 8080, acceptors => 100},\n"
     "                         #{ip => <<\"::\">>, port => 8443, acceptors => 100}],\n"
     "           timeouts => #{connect => 5000, request => 30000, idle => 60000},\n"
     "           features => [<<\"metrics\">>, <<\"tracing\">>, <<\"audit\">>]},\n"
     "  health => #{type => http, port => 8080, path => <<\"/health\">>, interval => 30000},\n"
     "  depends_on => [", lists:join(", ", Dependencies), "]}.\n"];
text(yaml, Name, Revision, Dependencies) ->
    ["name: ", Name, "\nversion: \"1.0.", Revision, "\"\n"
     "description: One of many applications that the benchmark reads\n"
     "source:\n  type: git\n  url: https://git.example.org/apps/", Name, ".git\n"
     "  ref: v1.0.", Revision, "\n"
     "env:\n  http_port: 8080\n  pool_size: 16\n  log_level: info\n  listeners:\n"
     "    - {ip: 0.0.0.0, port: 8080, acceptors: 100}\n"
     "    - {ip: \"::\", port: 8443, acceptors: 100}\n"
     "  timeouts:\n    connect: 5000\n    request: 30000\n    idle: 60000\n"
     "  features: [metrics, tracing, audit]\n"
     "health:\n  type: http\n  port: 8080\n  path: /health\n  interval: 30000\n"
     "depends_on: [", lists:join(", ", Dependencies), "]\n"];
text(json, Name, Revision, Dependencies) ->
    ["{\"name\": \"", Name, "\", \"version\": \"1.0.", Revision, "\",\n"
     " \"description\": \"One of many applications that the benchmark reads\",\n"
     " \"source\": {\"type\": \"git\", \"url\": \"https://git.example.org/apps/", Name, ".git\",\n"
     "            \"ref\": \"v1.0.", Revision, "\"},\n"
     " \"env\": {\"http_port\": 8080, \"pool_size\": 16, \"log_level\": \"info\",\n"
     "   \"listeners\": [{\"ip\": \"0.0.0.0\", \"port\": 8080, \"acceptors\": 100},\n"
     "                 {\"ip\": \"::\", \"port\": 8443, \"acceptors\": 100}],\n"
     "   \"timeouts\": {\"connect\": 5000, \"request\": 30000, \"idle\": 60000},\n"
     "   \"features\": [\"metrics\", \"tracing\", \"audit\"]},\n"
     " \"health\": {\"type\": \"http\", \"port\": 8080, \"path\": \"/health\", \"interval\": 30000},\n"
     " \"depends_on\": [", lists:join(", ", [["\"", D, "\""] || D <- Dependencies]), "]}\n"].

%% @doc One poll of Url by the clone at Path.
follow(Url, Path) ->
    Ref = make_ref(),
    Request = #{op => follow, url => Url, path => Path, branch => <<"main">>, timeout => 60000,
                auth => #{allow_local => true}},
    {ok, _Job} = bc_gitops_native:git_start(Request, self(), Ref),
    receive
        {bc_gitops_job, Ref, {ok, Result}} -> Result;
        {bc_gitops_job, Ref, {error, Reason}} -> error(Reason)
    end.

remove(Dir) ->
    bct_dir:remove(Dir).
