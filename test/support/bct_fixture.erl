%%% @doc Files of test/fixtures, wherever the tests are run from.
-module(bct_fixture).
-export([path/1]).

%% @doc The full name of a file under test/fixtures.
path(Name) ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    filename:join([filename:dirname(filename:dirname(Source)), "fixtures", Name]).
